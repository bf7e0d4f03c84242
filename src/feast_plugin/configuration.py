"""How the plug-ins read their part of `feature_store.yaml`, whose values come from the deployment's settings."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator

from behavior.errors import BadInput

T = TypeVar("T")


def _filled_in(value: Any) -> Any:
    """The value, or None for one that is empty or was never filled in."""
    if isinstance(value, str) and (value == "" or value.startswith("${")):
        return None
    return value


FilledIn = BeforeValidator(_filled_in)
OptionalText = Annotated[str | None, FilledIn]
OptionalNumber = Annotated[int | None, FilledIn]
OptionalPath = Annotated[Path | None, FilledIn]
Flag = Annotated[bool, BeforeValidator(lambda value: _filled_in(value) or False)]


def required(value: T | None, key: str) -> T:
    """The value, or BadInput that says which key of the configuration has none."""
    if value is None:
        raise BadInput(
            f"feature_store.yaml: {key} has no value; set OPPORTUNE_{key.upper()}, or let `opportune` run what needs it"
        )
    return value
