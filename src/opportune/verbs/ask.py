"""`opportune score` and `opportune track`: talking to a running server."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console

from behavior.errors import BadInput
from deployment.settings import load
from opportune.addresses import attached

if TYPE_CHECKING:
    from scoring.client import Client


def score(
    user: str,
    *,
    candidates: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    kind: Literal["category", "item"] = "category",
    top: int = 10,
    placement: str = "",
    device: str = "",
    page: str = "",
    explain: bool = False,
    address: tuple[str, ...] = (),
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Rank categories or items for a user and show what makes up each score.

    Asks the server of the `opportune up` that runs in this home, or the one at OPPORTUNE_HOST and OPPORTUNE_PORT.

    Parameters
    ----------
    user
        The user's id as your own systems know it; it is turned into a pseudonym on arrival.
    candidates
        What to rank: `--candidates TEA RICE`. Default: what the server offers, the categories bought most in 30 days.
    kind
        What the candidates are.
    top
        How many to show; 0 shows all.
    placement
        Where the answer will be shown.
    device
        What the user holds, such as phone.
    page
        Where the user is.
    explain
        With --json: the features that each candidate was scored with.
    address
        Server to ask instead, as host:port; several times: servers that answer alike, one that is healthy is asked.
    as_json
        Print the whole answer as one JSON object.
    """
    from scoring.render import show, to_json

    with _client(address) as client:
        answer = client.score(
            user, candidates=candidates, kind=kind, placement=placement, device=device, page=page, top_k=top,
            explain=explain,
        )  # fmt: skip
    if as_json:
        print(to_json(answer))
    else:
        show(answer, Console())


def track(file: Path | None = None) -> None:
    """Send events to the server, one JSON object per line, from a file or from standard input.

    Each object has the fields of the proto's Event, with event_time as ISO 8601 with an offset and consent as a list:
    {"message_id": "m1", "kind": "purchase", "user_id": "42", "category": "BREAD", "value_minor": 139,
    "event_time": "2026-11-23T10:00:00+00:00", "consent": ["personalization"]}. Prints one line per event.

    Parameters
    ----------
    file
        File of JSON lines. Default: standard input.
    """
    from scoring.v1 import scoring_pb2 as wire

    events = [_event(number, line) for number, line in enumerate(_lines(file), start=1) if line.strip()]
    if not events:
        raise BadInput("there is no event to send; give one JSON object per line")
    with _client() as client:
        for start in range(0, len(events), 500):
            for result in client.track(events[start : start + 500]):
                status = wire.Result.Status.Name(result.status).removeprefix("STATUS_").lower()
                print(" ".join(part for part in (status, result.reason, result.message) if part))


def _client(addresses: Sequence[str] = ()) -> "Client":
    """A client of the servers at these addresses, else of the deployment's own."""
    from scoring.client import Client
    from scoring.credentials import Credentials

    settings = load()
    if not addresses:
        settings = attached(settings)
        addresses = [f"{settings.host}:{settings.port}"]
    return Client(*addresses, credentials=Credentials.of(settings))


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return sys.stdin.read().splitlines()
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {type(error).__name__}") from None


def _event(number: int, line: str) -> dict[str, object]:
    from datetime import datetime

    try:
        fields = msgspec.json.decode(line, type=dict[str, object])
        fields["event_time"] = datetime.fromisoformat(str(fields["event_time"]))
    except msgspec.MsgspecError as error:
        raise BadInput(f"line {number} is no JSON object: {error}") from None
    except (KeyError, ValueError):
        raise BadInput(f"line {number} needs an event_time in ISO 8601 with an offset") from None
    return fields
