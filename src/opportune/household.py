"""A real household's next days, replayed: its baskets go in, and its ranking moves.

ask ──▶ for each of its next baskets: clock to the basket, Track, wait until it shows, ask again ──▶ what moved, why
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from behavior.errors import BadInput, OpportuneError, Unavailable
from behavior.event import SECOND_US
from behavior.manifest import TEXT_FILE, VOCABULARIES_FILE
from deployment.archive import Archive
from deployment.pseudonym import Pseudonyms
from opportune.replay import DeploymentClock
from scoring.client import Client
from scoring.v1 import scoring_pb2 as wire

VISIBLE_WITHIN_S = 10.0
_POLL_S = 0.005
# A candidate that nobody buys: asking for it shows how far the state is, and teaches the learner of nothing else.
_PROBE = "(only asking)"
# Waiting does not make somebody known.
_UNKNOWN = "unknown_user"
_SHOWN = 10
_REASONS = 4


@dataclass(frozen=True, slots=True)
class Basket:
    """One order of the household: its instant (µs) and its lines as the archive has them."""

    t: int
    lines: list[dict[str, Any]]

    @property
    def categories(self) -> list[str]:
        """What was bought, each category once."""
        return sorted({line["category"] for line in self.lines if line["category"] is not None})


def next_baskets(archive: Archive, partition: int, pseudonym: str, since: int, number: int) -> list[Basket]:
    """The household's next orders at or after an instant, the earliest first.

    Raises BadInput if it has none.
    """
    columns = ["user_id", "k", "e", "order_id", "item", "category", "value", "quantity", "utc_offset_s"]
    rows = [row for row in archive.read(partition, columns=columns).to_pylist() if row["user_id"] == pseudonym]
    orders: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["k"] >= since:
            orders.setdefault(row["order_id"], []).append(row)
    if not orders:
        raise BadInput("this household buys nothing after the replay's first day; choose another one")
    return [Basket(lines[0]["e"], lines) for lines in list(orders.values())[:number]]


def send(client: Client, household: str, basket: Basket, request_id: str) -> int:
    """Track the basket's lines as the shop would, as outcomes of an earlier answer; the last admission instant (µs)."""
    events = [
        {
            "message_id": f"{request_id}-{line['order_id']}-{line['item']}", "kind": "purchase", "user_id": household,
            "event_time": line["e"], "item": line["item"], "category": line["category"] or "",
            "value_minor": line["value"], "currency": "USD", "quantity": line["quantity"],
            "order_id": line["order_id"], "request_id": request_id, "utc_offset_s": line["utc_offset_s"],
            "consent": ("personalization",),
        }
        for line in basket.lines
    ]  # fmt: skip
    results = client.track(events)
    refused = [each for each in results if each.status != wire.Result.STATUS_ACCEPTED]
    if refused:
        raise OpportuneError(f"{len(refused)} of {len(results)} lines were not accepted: {refused[0].message}")
    return latest_admission(results)


def latest_admission(results: Sequence[wire.Result]) -> int:
    """The greatest instant (µs) at which the log took any of the events."""
    return max(instant_of(each.admitted_at) for each in results)


def ask(client: Client, household: str, after: int = 0) -> tuple[wire.ScoreResponse, float]:
    """The household's ranking once it reflects all that was admitted up to `after`, and how long that took (s)."""
    waited = settle(client, household, after)
    return client.score(household, explain=True), waited


def settle(client: Client, user: str, after: int = 0) -> float:
    """Wait until answers reflect all that the user did up to the admission `after` (µs); how long that took (s).

    The snapshot must be of the same interval, so that what others do is as fresh as it can be. Raises Unavailable if
    that takes longer than VISIBLE_WITHIN_S.
    """
    began = time.monotonic()
    while True:
        answer = client.score(user, candidates=[_PROBE])
        waited = time.monotonic() - began
        if instant_of(answer.as_of) > after and not any(each.reason != _UNKNOWN for each in answer.degraded):
            return waited
        if waited > VISIBLE_WITHIN_S:
            raise Unavailable(f"what was tracked did not show within {VISIBLE_WITHIN_S:.0f} s; see the log of fold")
        time.sleep(_POLL_S)


def go_to(clock: DeploymentClock, basket: Basket) -> None:
    """Move the replay's clock to the basket."""
    clock.advance(max(basket.t, clock.now()))


def show_ranking(answer: wire.ScoreResponse, console: Console, title: str) -> None:
    """The best categories with what makes up each score."""
    table = Table("", "category", "score", title=title, title_justify="left")
    for factor in answer.ranked[0].factors:
        table.add_column(
            f"= {factor.name}" if factor is answer.ranked[0].factors[0] else f"+ {factor.name}", justify="right"
        )
    calibrated = answer.ranked[0].propensities[0].calibrated
    table.add_column("propensity" if calibrated else "propensity\n(uncalibrated)", justify="right")
    table.columns[2].justify = "right"
    for each in answer.ranked[:_SHOWN]:
        addends = [f"{factor.contribution:+.3f}" for factor in each.factors]
        table.add_row(
            str(each.position), each.candidate.id, f"{each.score:+.3f}", *addends, f"{each.propensities[0].value:.1%}"
        )
    console.print(table)


def show_moves(
    before: wire.ScoreResponse, after: wire.ScoreResponse, bought: Sequence[str], console: Console
) -> list[str]:
    """What moved most among the best of either answer; returns the two categories that moved furthest, up and down."""
    was = {each.candidate.id: each for each in before.ranked}
    now = {each.candidate.id: each for each in after.ranked}
    watched = [each.candidate.id for each in (*after.ranked[:_SHOWN], *before.ranked[:_SHOWN])]
    watched += [name for name in bought if name in now]
    both = [name for name in dict.fromkeys(watched) if name in was and name in now]
    moved = sorted(both, key=lambda name: now[name].score - was[name].score)
    chosen = list(dict.fromkeys([*reversed(moved[-6:]), *reversed(moved[:4])]))
    table = Table("category", "place", "score", "change", "bought", title="what moved", title_justify="left")
    for name in chosen:
        old, new = was[name], now[name]
        table.add_row(
            name, f"{old.position} → {new.position}", f"{old.score:+.3f} → {new.score:+.3f}",
            f"{new.score - old.score:+.3f}", "yes" if name in bought else "",
        )  # fmt: skip
    console.print(table)
    return [moved[-1], moved[0]]


def show_why(
    name: str, before: wire.ScoreResponse, after: wire.ScoreResponse, bundle: Mapping[str, bytes], console: Console
) -> None:
    """Why one category moved: the features that changed its margin most, before and after, by TreeSHAP."""
    from training.explain import contributions

    old, new = (_ranked(answer, name) for answer in (before, after))
    x = np.stack([_row(each, bundle) for each in (old, new)])
    shares = contributions(bundle[TEXT_FILE].decode(), x)
    change = shares[1] - shares[0]
    table = Table("feature", "before", "after", "adds to the margin", title=f"why {name} moved", title_justify="left")
    for place in sorted(range(x.shape[1]), key=lambda place: -abs(change[place]))[:_REASONS]:
        was, now = old.features[place], new.features[place]
        table.add_row(was.name, readable(was), readable(now), f"{change[place]:+.3f}")
    rest = change[:-1].sum() - sum(sorted(change[:-1], key=abs)[-_REASONS:])
    table.add_row("all others", "", "", f"{rest:+.3f}", end_section=True)
    learned = _learner(new) - _learner(old)
    table.add_row("learner", f"{_learner(old):+.3f}", f"{_learner(new):+.3f}", f"{learned:+.3f}")
    console.print(table)


def bundle_files(bundles: Path | str, bundle_id: str) -> dict[str, bytes]:
    """The files of the bundle that answered."""
    from training.bundle import read_bundle

    return read_bundle(bundles, bundle_id)[1]


def readable(feature: wire.Feature) -> str:
    """A feature's value for people: ages in days and hours, amounts with their cents, nothing as a dash."""
    kind = feature.WhichOneof("value")
    if kind is None:
        return "–"
    value = getattr(feature, kind)
    if feature.name.endswith("_age_s"):
        days, seconds = divmod(value, 86_400)
        return f"{days:.0f} d {seconds / 3600:.1f} h"
    if "_value_total" in feature.name:
        return f"{value / 100:.2f}"
    return str(value)


def latencies(client: Client, household: str, calls: int) -> Iterator[float]:
    """How long each of so many calls took, in seconds, one after the other."""
    for _ in range(calls):
        began = time.perf_counter()
        client.score(household, top_k=_SHOWN)
        yield time.perf_counter() - began


def pseudonym_of(key_file: Path, household: str) -> str:
    """The household's pseudonym under the deployment's key."""
    return Pseudonyms.load(key_file).user(household)


def _row(ranked: wire.Ranked, bundle: Mapping[str, bytes]) -> np.ndarray:
    """The model's float32 row from the features that the answer explained."""
    vocabularies = msgspec.json.decode(bundle[VOCABULARIES_FILE], type=dict[str, list[str]])

    def number(feature: wire.Feature) -> float:
        kind = feature.WhichOneof("value")
        if kind is None:
            return np.nan
        value = getattr(feature, kind)
        if kind != "text":
            return float(value)
        known = vocabularies[feature.name]
        return known.index(value) if value in known else np.nan

    return np.array([number(feature) for feature in ranked.features], dtype=np.float32)


def _ranked(answer: wire.ScoreResponse, name: str) -> wire.Ranked:
    return next(each for each in answer.ranked if each.candidate.id == name)


def _learner(ranked: wire.Ranked) -> float:
    return float(next(factor.contribution for factor in ranked.factors if factor.name == "learner"))


def instant_of(stamp: Any) -> int:
    """A protobuf timestamp in µs."""
    return int(stamp.seconds * SECOND_US + stamp.nanos // 1000)
