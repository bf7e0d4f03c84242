"""What every process of a deployment must agree on before it touches Redis: the partitions and the plan."""

from typing import Any

from behavior.errors import BadInput
from behavior.plan import Plan
from deployment.keys import Keys

# Stands in the deployment's hash from a rebuild's first write to its last: until then nobody may read the states.
REBUILDING = b"rebuilding"


def agree(client: Any, keys: Keys, partitions: int, plan: Plan) -> None:
    """Write down the number of partitions and the plan if nobody has yet, else refuse to differ.

    Raises BadInput: states written under one plan cannot be read under another, and half of them not at all.
    """
    if client.hexists(keys.deployment(), REBUILDING):
        raise BadInput(
            f"a rebuild under the prefix {keys.prefix} runs or was cut off; "
            "wait for it, or run it again: it begins anew"
        )
    mine = {b"partitions": str(partitions).encode(), b"plan": plan.fingerprint.encode()}
    for field, value in mine.items():
        client.hsetnx(keys.deployment(), field, value)
    found = client.hgetall(keys.deployment())
    for field, value in mine.items():
        if found[field] != value:
            raise BadInput(
                f"Redis holds states for {field.decode()} {found[field].decode()}, this process has {value.decode()}; "
                "rebuild into a fresh Redis (or another redis_prefix), or use the plan that it was built with"
            )
