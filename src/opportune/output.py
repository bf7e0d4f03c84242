"""What a verb prints: a table for people, or one JSON object as the last line for machines."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
from rich.console import Console, RenderableType

# Columns for a reader without a terminal: a file, a log, a pager.
WIDTH = 120


def console() -> Console:
    """Where people read: as wide as their terminal, and wide enough for our tables where there is none."""
    found = Console()
    return found if found.is_terminal else Console(width=WIDTH)


def show(for_people: RenderableType, for_machines: object, *, as_json: bool) -> None:
    """Print the answer on stdout, the one or the other."""
    if as_json:
        print(json.dumps(_plain(for_machines)))
    else:
        console().print(for_people)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
