"""Where the plan is kept between `apply` and everybody who reads it."""

from pathlib import Path

from behavior.errors import BadInput
from behavior.plan import Plan


def load_plan(path: Path) -> Plan:
    """The plan that `opportune apply` wrote.

    Raises BadInput if there is none or it is another version's.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"there is no plan at {path}; run `opportune apply` first") from None
    return Plan.decode(data)
