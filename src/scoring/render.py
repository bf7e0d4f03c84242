"""A Score answer for people and for programs: a table, plain text without a terminal, or JSON."""

import json
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scoring.v1 import scoring_pb2 as wire


def show(answer: wire.ScoreResponse, console: Console) -> None:
    """Print the answer: a table on a terminal, aligned plain lines without one.

    Of the factors it shows what they add, and leaves out those that add nothing to anybody; JSON has all of them.
    """
    header, rows = _cells(answer)
    if console.is_terminal:
        table = Table(*header, title=Text(_summary(answer)), title_justify="left")
        for column in table.columns[2:]:
            column.justify = "right"
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
    else:
        lines = [header, *rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
        print(_summary(answer), file=console.file)
        for line in lines:
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            print("  ".join(padded).rstrip(), file=console.file)
    for degradation in answer.degraded:
        print(f"degraded: {degradation.reason}: {degradation.detail}", file=console.file)


def to_json(answer: wire.ScoreResponse) -> str:
    """The whole answer as JSON; numbers to the last bit, instants in ISO 8601, features by name."""
    return json.dumps(
        {
            "request_id": answer.request_id,
            "as_of": _instant(answer.as_of),
            "bundle_id": answer.bundle_id,
            "learner_version": answer.learner_version,
            "snapshot_instant": _instant(answer.snapshot_instant),
            "persona": answer.persona,
            "ranked": [_ranked(each) for each in answer.ranked],
            **({"exploration": _exploration(answer.exploration)} if answer.HasField("exploration") else {}),
            "degraded": [{"reason": each.reason, "detail": each.detail} for each in answer.degraded],
        },
        ensure_ascii=False,
    )


def drawn_by(said: wire.Exploration) -> str:
    """The policy, how strong it is, and that its chances are estimated where they are."""
    return said.policy + (f" {said.strength:g}" if said.strength else "") + ("" if said.is_exact else " (estimated)")


def _cells(answer: wire.ScoreResponse) -> tuple[list[str], list[list[str]]]:
    factors = _telling(answer)
    targets = [_target(each) for each in answer.ranked[0].propensities] if answer.ranked else []
    explores = answer.HasField("exploration")
    rows = [
        [
            str(each.position),
            each.candidate.id,
            *([f"{each.chance:.3g}"] if explores else []),
            f"{each.score:+.4f}",
            *(f"{factor.contribution:+.4f}" for factor in each.factors if factor.name in factors),
            *(f"{propensity.value:.1%}" for propensity in each.propensities),
        ]
        for each in answer.ranked
    ]
    return ["#", _kinds(answer), *(["chance"] if explores else []), "score", *factors, *targets], rows


def _telling(answer: wire.ScoreResponse) -> list[str]:
    """The factors that add something to some candidate, in the order in which they are added."""
    added = {factor.name for each in answer.ranked for factor in each.factors if factor.contribution}
    return [each.name for each in answer.ranked[0].factors if each.name in added] if answer.ranked else []


def _kinds(answer: wire.ScoreResponse) -> str:
    """What the candidates are, as the head of their column."""
    kinds = {_kind(each.candidate) for each in answer.ranked}
    return kinds.pop() if len(kinds) == 1 else "candidate"


def _kind(candidate: wire.Candidate) -> str:
    return wire.CandidateKind.Name(candidate.kind).removeprefix("CANDIDATE_KIND_").lower()


def _target(propensity: wire.Propensity) -> str:
    return propensity.target if propensity.calibrated else f"{propensity.target} (uncalibrated)"


def _summary(answer: wire.ScoreResponse) -> str:
    persona = f", persona {answer.persona}" if answer.persona else ""
    drawn = f", drawn by {drawn_by(answer.exploration)}" if answer.HasField("exploration") else ""
    return (
        f"as of {_instant(answer.as_of)}, bundle {answer.bundle_id}, learner {answer.learner_version}, "
        f"snapshot {_instant(answer.snapshot_instant)}{persona}{drawn}"
    )


def _ranked(each: wire.Ranked) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "position": each.position,
        "candidate": {"kind": _kind(each.candidate), "id": each.candidate.id},
        "score": each.score,
        "factors": [
            {"name": one.name, "value": one.value, "weight": one.weight, "contribution": one.contribution}
            for one in each.factors
        ],
        "propensities": [
            {"target": one.target, "value": one.value, "calibrated": one.calibrated} for one in each.propensities
        ],
    }
    if each.chance:
        shown["chance"] = each.chance
    if each.features:
        shown["features"] = {one.name: _value(one) for one in each.features}
    return shown


def _exploration(said: wire.Exploration) -> dict[str, Any]:
    return {"policy": said.policy, "strength": said.strength, "is_exact": said.is_exact}


def _value(feature: wire.Feature) -> Any:
    which = feature.WhichOneof("value")
    return getattr(feature, which) if which else None


def _instant(stamp: Timestamp) -> str:
    return stamp.ToJsonString()
