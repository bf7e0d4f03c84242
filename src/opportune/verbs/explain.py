"""`opportune explain`: an answer of the past, made again from the journal and held against it."""

import json
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deployment.settings import Settings, load
from opportune.addresses import attached
from opportune.output import console

if TYPE_CHECKING:
    from scoring.v1 import scoring_pb2 as wire

# The mean margin of the model, from which the inputs' contributions start.
_BASE = "(mean)"


def explain(
    request_id: str,
    *,
    shap: bool = False,
    events: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Make an answer again from its journal entry and its bundle, and say whether it is the same to the last bit.

    Asks the server of the `opportune up` that runs in this home, or the one at OPPORTUNE_HOST and OPPORTUNE_PORT. The
    exit status is 1 if a part differs, or if the entry was altered.

    Parameters
    ----------
    request_id
        As Score answered it.
    shap
        What each input added to the margin, by exact TreeSHAP; needs the bundle that gave the answer.
    events
        What the user had done by then, newest first.
    as_json
        Print one JSON object; numbers to the last bit, instants in ISO 8601.
    """
    from scoring.client import Client
    from scoring.credentials import Credentials

    settings = attached(load())
    with Client(f"{settings.host}:{settings.port}", credentials=Credentials.of(settings)) as client:
        answer = client.explain(request_id, events=events)
    added = _added(answer, settings) if shap else None
    if as_json:
        print(json.dumps(_for_machines(answer, added), ensure_ascii=False))
    else:
        console().print(_for_people(answer, added))
    return 0 if answer.equal else 1


def _added(answer: "wire.ExplainResponse", settings: Settings) -> list[dict[str, float]]:
    """Per candidate what each input adds to the margin, the mean margin first. Raises BadInput without the bundle."""
    import numpy as np

    from behavior.manifest import TEXT_FILE
    from deployment.bundles import Bundles
    from training.explain import contributions

    manifest, files = Bundles.of(settings).read(answer.bundle_id)
    x = np.array([each.vector for each in answer.shown], dtype=np.float32).reshape(-1, len(manifest.inputs))
    found = contributions(files[TEXT_FILE].decode(), x, threads=1)
    names = [_BASE, *manifest.inputs]
    return [dict(zip(names, [row[-1], *row[:-1]], strict=True)) for row in found.tolist()]


def _for_machines(answer: "wire.ExplainResponse", added: list[dict[str, float]] | None) -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    said: dict[str, Any] = MessageToDict(
        answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    for place, contributions in enumerate(added or ()):
        said["shown"][place]["shap"] = contributions
    return said


def _for_people(answer: "wire.ExplainResponse", added: list[dict[str, float]] | None) -> RenderableType:
    parts: list[RenderableType] = [Text(line) for line in _summary(answer)]
    parts += [_scores(answer), _checks(answer), _features(answer)]
    parts += [_shap(answer, added)] if added else []
    parts += [_events(answer)] if answer.events else []
    verdict = "equal to the last bit" if answer.equal else "NOT what was journalled"
    parts.append(Text(f"made again, the answer is {verdict}", style="" if answer.equal else "bold red"))
    return Group(*parts)


def _summary(answer: "wire.ExplainResponse") -> list[str]:
    folded = answer.folded_until.ToJsonString() if answer.HasField("folded_until") else "the beginning"
    lines = [
        f"answer {answer.request_id} to {answer.user}" + (f" at {answer.placement}" if answer.placement else ""),
        f"as of {answer.as_of.ToJsonString()}, folded up to {folded}, "
        f"snapshot {answer.snapshot_instant.ToJsonString()}, UTC offset {answer.utc_offset_s} s",
        f"bundle {answer.bundle_id}, learner {answer.learner_version}, candidates from {answer.candidates_from}, "
        f"entry in the {answer.found_in}" + (f", persona {answer.persona}" if answer.persona else ""),
    ]
    if answer.HasField("exploration"):
        from scoring.render import drawn_by

        lines.append(f"order drawn by {drawn_by(answer.exploration)}")
    return lines + [f"degraded: {each.reason}" for each in answer.degraded]


def _scores(answer: "wire.ExplainResponse") -> Table:
    factors = [each.name for each in answer.shown[0].ranked.factors] if answer.shown else []
    explores = answer.HasField("exploration")
    chance = ["chance"] if explores else []
    table = _table("#", "candidate", *chance, "score", *factors, "margin", "propensity", title="scores")
    for each in answer.shown:
        ranked = each.ranked
        numbers = (ranked.score, *(factor.contribution for factor in ranked.factors), each.margin)
        propensities = (f"{one.value:.1%}" for one in ranked.propensities)
        cells = (f"{number:+.4f}" for number in numbers)
        drawn = [f"{ranked.chance:.3g}"] if explores else []
        table.add_row(str(ranked.position), Text(ranked.candidate.id), *drawn, *cells, *propensities)
    return table


def _checks(answer: "wire.ExplainResponse") -> Table:
    table = Table("made again", "equal", "", title="checks", title_justify="left")
    for each in answer.checks:
        row = (each.name, "yes" if each.equal else "NO", each.detail)
        table.add_row(*row, style=None if each.equal else "bold red")
    return table


def _features(answer: "wire.ExplainResponse") -> Table:
    """One line per input, one column per candidate; what all share is said once."""
    names = [each.ranked.candidate.id for each in answer.shown]
    table = _table("feature", *names, title="features")
    inputs = answer.shown[0].ranked.features if answer.shown else ()
    for place, feature in enumerate(inputs):
        values = [_value(each.ranked.features[place]) for each in answer.shown]
        shared = len(set(values)) == 1
        table.add_row(Text(feature.name), *(Text(each) for each in (values[:1] if shared else values)))
    return table


def _shap(answer: "wire.ExplainResponse", added: list[dict[str, float]]) -> Table:
    table = _table(
        "input", *(each.ranked.candidate.id for each in answer.shown), title="added to the margin (TreeSHAP)"
    )
    names = sorted(added[0], key=lambda name: (name != _BASE, -max(abs(each[name]) for each in added)))
    for name in names:
        table.add_row(Text(name), *(f"{each[name]:+.4f}" for each in added))
    return table


def _events(answer: "wire.ExplainResponse") -> Table:
    table = Table("kind", "event time", "admitted", "item", "category", "value", title="events", title_justify="left")
    for each in answer.events:
        value = str(each.value_minor) if each.HasField("value_minor") else ""
        words = (each.kind, each.event_time.ToJsonString(), each.admitted_at.ToJsonString(), each.item, each.category)
        table.add_row(*(Text(word) for word in words), value)
    return table


def _table(*columns: str, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(columns):
        table.add_column(Text(name), justify="right" if place else "left")
    return table


def _value(feature: "wire.Feature") -> str:
    which = feature.WhichOneof("value")
    if which is None:
        return "-"
    value = getattr(feature, which)
    return f"{value:.9g}" if isinstance(value, float) else str(value)
