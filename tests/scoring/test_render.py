"""An answer for people and for programs."""

import io
import json

from rich.console import Console

from scoring.render import show, to_json
from scoring.v1 import scoring_pb2 as wire

ANSWER = wire.ScoreResponse(
    request_id="r",
    bundle_id="purchase_7d-20170925-0123abcd",
    learner_version=3,
    ranked=[
        wire.Ranked(
            position=1,
            candidate=wire.Candidate(kind=wire.CANDIDATE_KIND_CATEGORY, id="[b]TEA[/b]"),
            score=0.1 + 0.2,
            factors=[
                wire.Factor(name="propensity", value=0.1, weight=1, contribution=0.1),
                wire.Factor(name="learner", value=0.2, weight=1, contribution=0.2),
            ],
            propensities=[wire.Propensity(target="purchase_7d", value=0.525)],
            features=[wire.Feature(name="v:n", integer=3), wire.Feature(name="v:none")],
        )
    ],
    degraded=[wire.Degradation(reason="unknown_user", detail="nothing is known")],
)
ANSWER.as_of.FromMicroseconds(1_508_040_000_000_001)


def shown(answer: wire.ScoreResponse, *, terminal: bool) -> str:
    file = io.StringIO()
    show(answer, Console(file=file, force_terminal=terminal, width=120))
    return file.getvalue()


def test_without_a_terminal_the_table_is_plain() -> None:
    """No escape codes and no frames: a line per candidate with score, factors and propensity, then what is degraded."""
    lines = shown(ANSWER, terminal=False).splitlines()
    assert lines[0].startswith("as of 2017-10-15T04:00:00.000001Z, bundle purchase_7d-20170925-0123abcd, learner 3")
    assert lines[1].split() == ["#", "category", "score", "propensity", "learner", "purchase_7d", "(uncalibrated)"]
    assert lines[2].split() == ["1", "[b]TEA[/b]", "+0.3000", "+0.1000", "+0.2000", "52.5%"]
    assert lines[3] == "degraded: unknown_user: nothing is known"
    assert shown(ANSWER, terminal=False).isascii()


def test_factors_that_add_nothing_have_no_column() -> None:
    """A factor is shown if it moves any candidate, in the order in which it is added; zeros of all are left out."""
    contributions = {"BREAD": (0.5, 0.0, 0.0, -0.25), "MILK": (0.5, 0.0, 0.125, 0.0)}
    names = ("propensity", "affinity", "recency", "fatigue")
    answer = wire.ScoreResponse(
        ranked=[
            wire.Ranked(
                position=place,
                candidate=wire.Candidate(kind=wire.CANDIDATE_KIND_ITEM, id=item),
                score=sum(added),
                factors=[
                    wire.Factor(name=name, value=one, weight=1, contribution=one)
                    for name, one in zip(names, added, strict=True)
                ],
            )
            for place, (item, added) in enumerate(contributions.items(), 1)
        ]
    )
    _, head, *rows = (line.split() for line in shown(answer, terminal=False).splitlines())
    assert head == ["#", "item", "score", "propensity", "recency", "fatigue"]
    assert rows == [
        ["1", "BREAD", "+0.2500", "+0.5000", "+0.0000", "-0.2500"],
        ["2", "MILK", "+0.6250", "+0.5000", "+0.1250", "+0.0000"],
    ]
    assert [each["name"] for each in json.loads(to_json(answer))["ranked"][0]["factors"]] == list(names)


def test_on_a_terminal_ids_are_shown_as_they_are() -> None:
    """What looks like markup in an id is text."""
    assert "[b]TEA[/b]" in shown(ANSWER, terminal=True)


def test_an_empty_answer_can_be_shown() -> None:
    """No candidate, no factor columns, no error."""
    assert "candidate" in shown(wire.ScoreResponse(), terminal=False)
    assert json.loads(to_json(wire.ScoreResponse()))["ranked"] == []


def test_the_persona_is_told() -> None:
    """In the first line and in JSON; without personas the line says nothing about them."""
    named = wire.ScoreResponse()
    named.CopyFrom(ANSWER)
    named.persona = "At-Risk"
    assert shown(named, terminal=False).splitlines()[0].endswith(", persona At-Risk")
    assert json.loads(to_json(named))["persona"] == "At-Risk"
    assert "persona" not in shown(ANSWER, terminal=False)
    assert json.loads(to_json(ANSWER))["persona"] == ""


def test_what_was_drawn_is_told_with_its_chances() -> None:
    """A column of chances, the policy in the first line, both in JSON; nothing of them where nothing was drawn."""
    drawn = wire.ScoreResponse()
    drawn.CopyFrom(ANSWER)
    drawn.exploration.CopyFrom(wire.Exploration(policy="epsilon-greedy", strength=0.1, is_exact=True))
    drawn.ranked[0].chance = 1 / 3
    first, head, row, _ = shown(drawn, terminal=False).splitlines()
    assert first.endswith(", drawn by epsilon-greedy 0.1")
    assert (head.split()[:4], row.split()[:4]) == (
        ["#", "category", "chance", "score"], ["1", "[b]TEA[/b]", "0.333", "+0.3000"],
    )  # fmt: skip
    said = json.loads(to_json(drawn))
    assert said["exploration"] == {"policy": "epsilon-greedy", "strength": 0.1, "is_exact": True}
    assert said["ranked"][0]["chance"] == 1 / 3
    drawn.exploration.CopyFrom(wire.Exploration(policy="thompson"))
    assert shown(drawn, terminal=False).splitlines()[0].endswith(", drawn by thompson (estimated)")
    assert "drawn" not in shown(ANSWER, terminal=False)
    assert json.loads(to_json(ANSWER)).keys().isdisjoint({"exploration"})


def test_json_keeps_every_bit() -> None:
    """Numbers come back exactly, features by name, missing ones as null."""
    ranked = json.loads(to_json(ANSWER))["ranked"][0]
    assert ranked["score"] == 0.1 + 0.2 == sum(each["contribution"] for each in ranked["factors"])
    assert ranked["candidate"] == {"kind": "category", "id": "[b]TEA[/b]"}
    assert ranked["features"] == {"v:n": 3, "v:none": None}
    assert ranked["propensities"] == [{"target": "purchase_7d", "value": 0.525, "calibrated": False}]
