"""The types of settings that check themselves: what a zone, an amount of memory, a Redis URL or a property must be."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from behavior.admission import KIND_PATTERN

_MEMORY = re.compile(r"\d+(\.\d+)?\s?[KMGT]i?B")


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"no time zone is called {name!r}; use an IANA name like Europe/Madrid") from None
    return name


def _memory_size(text: str) -> str:
    if _MEMORY.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no amount of memory; write it like 1500MB or 2GiB")
    return text


def _redis_scheme(url: str | None) -> str | None:
    if url is not None and urlsplit(url).scheme not in ("redis", "rediss", "unix"):
        raise ValueError("it is no Redis URL; write it like redis://127.0.0.1:6379/0")
    return url


def _path_unless_url(place: Path | str) -> Path | str:
    text = str(place).removeprefix("file://")
    return text if "://" in text else Path(text)


def _outcomes_only(rewards: dict[str, float]) -> dict[str, float]:
    for kind in ("impression", "heartbeat"):
        if kind in rewards:
            raise ValueError(f"{kind} is no outcome of what was shown")
    return rewards


def names_cluster(url: str | None) -> bool:
    """Whether the URL can be that of a cluster's node: no socket, and no database but 0."""
    parts = urlsplit(url or "")
    return parts.scheme in ("redis", "rediss") and parts.path in ("", "/", "/0") and "db" not in parse_qs(parts.query)


class Property(BaseModel):
    """A free property that events may carry: an integer with a decimal scale, or a text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: int | None = Field(None, ge=0, le=9, description="Decimal places: 1.25 with scale 2 is kept as 125.")
    kind: Literal["number", "text"] = "number"

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.kind == "text") == (self.scale is not None):
            raise ValueError('a property declares either `scale = <decimal places>` or `kind = "text"`')
        return self


# The kinds of outcomes with what each earns.
Rewards = Annotated[
    dict[Annotated[str, Field(pattern=f"^{KIND_PATTERN}$")], Annotated[float, Field(ge=0, le=1)]],
    AfterValidator(_outcomes_only),
]
Port = Annotated[int, Field(ge=0, le=65535)]
Zone = Annotated[str, AfterValidator(_known_zone)]
# A path on this machine, or a URL that fsspec knows; a URL stays a text, for a path would lose one of its slashes.
Place = Annotated[Path | str, BeforeValidator(_path_unless_url)]
MemorySize = Annotated[str, AfterValidator(_memory_size)]
RedisUrl = Annotated[str | None, AfterValidator(_redis_scheme)]
