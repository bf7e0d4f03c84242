"""What a verb prints: a table for people, or one JSON object as the last line for machines."""

import dataclasses
import json
from pathlib import Path

from rich.console import Console, RenderableType


def show(for_people: RenderableType, for_machines: object, *, as_json: bool) -> None:
    """Print the answer on stdout, the one or the other."""
    if as_json:
        print(json.dumps(_plain(for_machines)))
    else:
        Console().print(for_people)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    return json.loads(json.dumps(value, default=_text))


def _text(value: object) -> object:
    return str(value) if isinstance(value, Path) else repr(value)
