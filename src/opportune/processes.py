"""The processes of a deployment: each one entry in one list."""

import sys
from collections.abc import Sequence

from opportune.readiness import answers_metrics, serves_grpc
from opportune.supervise import Child


def children() -> tuple[Child, ...]:
    """The processes of a deployment, in the order in which they are stopped."""

    def verb(name: str) -> Sequence[str]:
        return (sys.executable, "-m", "opportune", name)

    return (
        Child("serve", verb("serve"), ready=serves_grpc, serves=True),
        Child("fold", verb("fold"), ready=answers_metrics),
        Child("learn", verb("learn"), ready=answers_metrics),
        Child("archive", verb("archive"), ready=answers_metrics),
    )
