"""The processes of a deployment: each one entry in one list."""

import sys
from collections.abc import Sequence
from functools import partial

from behavior.errors import BundleRefused
from deployment.bundle_store import BundleStore
from deployment.settings import Settings
from opportune.readiness import answers_grpc, answers_metrics, serves_grpc
from opportune.supervise import Child


def has_model(settings: Settings) -> bool:
    """Whether training has made a bundle current; without one the server takes events, and Score has to wait.

    A damaged pointer names none: the server says what is wrong, and takes events meanwhile.
    """
    try:
        return BundleStore(settings.bundles).pointed(settings.target, "current") is not None
    except BundleRefused:
        return False


def children(settings: Settings) -> tuple[Child, ...]:
    """The processes of a deployment, in the order in which they are stopped.

    Raises BadInput if the server could not be asked for its health.
    """
    from scoring.credentials import Credentials

    ready = partial(serves_grpc if has_model(settings) else answers_grpc, shown=Credentials.of_probe(settings))

    def verb(name: str) -> Sequence[str]:
        return (sys.executable, "-m", "opportune", name)

    return (
        Child("serve", verb("serve"), ready=ready, serves=True),
        Child("fold", verb("fold"), ready=answers_metrics),
        Child("learn", verb("learn"), ready=answers_metrics),
        Child("archive", verb("archive"), ready=answers_metrics),
    )
