"""Whether what was served is what the events say: served vectors against those derived anew, bit for bit.

    served entry: as_of, offset, s, vector ──────────────────────────┐
                    │                                                ├─▶ equal? else the first difference
    archive + log ──┴─▶ values up to that offset ─▶ assemble ─▶ vector
                    └─▶ values without lag and late events ──────────▶ equal? else stale

The first is parity, which must hold always. The second is staleness: how often a value was not the ideal one, by what
had come in when it was checked.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from prometheus_client import Counter

from behavior.column import Column
from behavior.errors import BadInput
from behavior.manifest import REQUEST_INPUTS, is_bundle_id
from behavior.moment import Moment
from behavior.plan import ALL_ID, Plan, View
from behavior.served import Served
from behavior.vector import assemble
from deployment.bundles import Bundles
from deployment.generations import FIRST, Plans, serving
from deployment.keys import Keys
from deployment.settings import Settings
from opportune.difference import Cell, Difference, explain
from opportune.history import EVENTS, History, history
from opportune.served_sample import Sample, newest_served

if TYPE_CHECKING:
    from scoring.model import Bundle

# Snapshot views are derived from everybody's events, for so many different instants s at most in one check.
MOST_INSTANTS = 5
_CATEGORY = "category"

CHECKED = Counter("opportune_parity_checked_total", "Served values that were derived anew.", ["feature"])
MISMATCHED = Counter("opportune_parity_mismatch_total", "Served values that are not what the events say.", ["feature"])
COMPARED = Counter("opportune_staleness_checked_total", "Served values that were held against the ideal.", ["feature"])
DIFFERED = Counter("opportune_staleness_differed_total", "Served values that lag or late events changed.", ["feature"])
WAITING = Counter("opportune_parity_waiting_total", "Served entries whose events are not all in archive or log.")
_NOWHERE = Moment(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))


@dataclass(slots=True)
class Tally:
    """Of one feature how many values were compared, and how many differed: from the derivation, from the ideal."""

    checked: int = 0
    mismatched: int = 0
    staleness_checked: int = 0
    stale: int = 0


@dataclass(slots=True)
class Report:
    """What a check found.

    entries    served entries that were checked, and how many `candidates` they showed
    waiting    entries whose events are not all in the archive or the log
    left_out   entries that could not be checked, by the reason
    features   {view:feature: Tally}
    first      the first difference, None if there is none
    """

    entries: int = 0
    candidates: int = 0
    waiting: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    features: dict[str, Tally] = field(default_factory=dict)
    first: Difference | None = None

    @property
    def mismatched(self) -> int:
        """How many values differed from their derivation."""
        return sum(each.mismatched for each in self.features.values())


@dataclass(frozen=True, slots=True)
class _Row:
    """One candidate of a served entry."""

    served: Served
    candidate: str
    vector: bytes


class ParityCheck:
    """Checks the served entries of a deployment; one that goes on checks each entry once at most."""

    def __init__(self, settings: Settings, keys: Keys, *, since: int = 0) -> None:
        self._settings = settings
        self._keys = keys
        self._plans = Plans(keys)
        self._bundles: dict[tuple[str, str], Bundle | None] = {}
        self._after = dict.fromkeys(range(keys.partitions), since - 1)

    def run(self, client: Any, most: int) -> Report:
        """Check the newest served entries since the last time, at most so many.

        Raises redis.RedisError, and BadInput if the archive has another number of partitions.
        """
        sample = newest_served(client, self._keys, most, self._after)
        report = Report()
        if sample.entries:
            plan = self._plans.of(client, serving(client, self._keys) or FIRST)
            # After the sample: whatever was folded by then is in the log or in the archive now.
            with history(self._settings, client, self._keys) as known:
                self._check(plan, known, sample, report)
        self._after = dict(sample.seen)
        return report

    def _check(self, plan: Plan, known: History, sample: Sample, report: Report) -> None:
        rows: dict[str, list[_Row]] = {}
        for _, served in sample.entries:
            if not _is_known(served, known, self._keys):
                report.waiting += 1
            elif self._bundle(served.bundle_id, plan) is None:
                reason = f"the bundle {served.bundle_id} is not here, or does not fit the plan"
                report.left_out[reason] = report.left_out.get(reason, 0) + 1
            else:
                report.entries += 1
                rows.setdefault(served.bundle_id, []).extend(
                    _Row(served, each.id, each.vector) for each in served.shown if each.kind == _CATEGORY
                )
        theirs = known.of_users(sorted({row.served.user_id for some in rows.values() for row in some}))
        for bundle_id, some in rows.items():
            bundle = self._bundle(bundle_id, plan)
            if bundle is not None and some:
                report.candidates += len(some)
                _Comparison(plan, known, theirs, bundle, some).into(report)

    def _bundle(self, bundle_id: str, plan: Plan) -> "Bundle | None":
        """The bundle, None if it is not here or not for this plan; each is loaded once."""
        from scoring.model import load_bundle

        place = (bundle_id, plan.fingerprint)
        if place not in self._bundles:
            self._bundles[place] = None
            if is_bundle_id(bundle_id):
                with suppress(BadInput):
                    self._bundles[place] = load_bundle(Bundles.of(self._settings), bundle_id, plan)
        return self._bundles[place]


class _Comparison:
    """Rows that one bundle has served, against their derivations."""

    def __init__(self, plan: Plan, known: History, theirs: str, bundle: "Bundle", rows: Sequence[_Row]) -> None:
        self._known = known
        self._theirs = theirs
        self._bundle = bundle
        self._rows = rows
        self._views = [view for view in plan.views if view.name in bundle.views]
        self._refs = [ref for ref in bundle.inputs if not ref.startswith(REQUEST_INPUTS)]
        newest = sorted({row.served.s for row in rows})[-MOST_INSTANTS:]
        self._with_snapshot = np.array([row.served.s in newest for row in rows], dtype=bool)
        places = [bundle.inputs.index(ref) for ref in self._refs]
        served = np.frombuffer(b"".join(row.vector for row in rows), dtype="<f4").astype(np.float32)
        self._served = served.reshape(len(rows), len(bundle.inputs))[:, places]

    def into(self, report: Report) -> None:
        """Add what is found to the report."""
        finals, vector = self._derived(ideal=False)
        _, ideal = self._derived(ideal=True)
        compared = np.stack([self._compared(ref) for ref in self._refs], axis=1)
        wrong = compared & (_bits(vector) != _bits(self._served))
        stale = compared & (_bits(ideal) != _bits(self._served))
        for place, ref in enumerate(self._refs):
            tally = report.features.setdefault(ref, Tally())
            tally.checked += int(compared[:, place].sum())
            tally.mismatched += int(wrong[:, place].sum())
            tally.staleness_checked += int(compared[:, place].sum())
            tally.stale += int(stale[:, place].sum())
        if report.first is None and wrong.any():
            row, place = np.argwhere(wrong)[0].tolist()
            report.first = self._explained(row, place, finals, vector)

    def _derived(self, *, ideal: bool) -> tuple[dict[str, Column], np.ndarray]:
        """Final values and vectors float32[n, d] by the events; rows whose s is not asked for are missing there."""
        finals: dict[str, Column] = {}
        for view in self._views:
            finals |= self._values(view, ideal=ideal)
        candidates = np.array([row.candidate for row in self._rows], dtype=object)
        return finals, assemble(self._refs, finals, _NOWHERE, candidates, self._bundle.vocabularies)

    def _values(self, view: View, *, ideal: bool) -> dict[str, Column]:
        from training.as_of import Questions, as_of

        asked = np.flatnonzero(self._with_snapshot) if view.is_snapshot else np.arange(len(self._rows))
        questions = Questions.of([_question(view, self._rows[row], ideal=ideal) for row in asked.tolist()])
        events = EVENTS if view.is_snapshot else self._theirs
        found = as_of(self._known.connection, view, questions, ideal=ideal, events=events)
        return {ref: _spread(column, asked, len(self._rows)) for ref, column in found.items()}

    def _compared(self, ref: str) -> np.ndarray:
        view = next(view for view in self._views if view.name == ref.partition(":")[0])
        return self._with_snapshot if view.is_snapshot else np.ones(len(self._rows), dtype=bool)

    def _explained(self, row: int, place: int, finals: Mapping[str, Column], vector: np.ndarray) -> Difference:
        ref, served = self._refs[place], self._rows[row].served
        view = next(view for view in self._views if view.name == ref.partition(":")[0])
        cell = Cell(
            view, next(each for each in view.features if each.ref == ref),
            _question(view, self._rows[row], ideal=False), self._served[row, place], vector[row, place],
        )  # fmt: skip
        return explain(
            self._known.connection, cell, served, self._rows[row].candidate, finals[ref], row,
            EVENTS if view.is_snapshot else self._theirs,
        )  # fmt: skip


def _question(view: View, row: _Row, *, ideal: bool) -> tuple[tuple[str, ...], int, int]:
    """What the served value of a view answered: (entity, t, before)."""
    served = row.served
    entity = {
        "user": (served.user_id,), "user_category": (served.user_id, row.candidate), "category": (row.candidate,),
        "all": (ALL_ID,),
    }[view.entity]  # fmt: skip
    if ideal:
        return entity, served.as_of, served.as_of
    return (entity, served.s, served.s) if view.is_snapshot else (entity, served.as_of, served.offset + 1)


def _is_known(served: Served, known: History, keys: Keys) -> bool:
    """Whether every event that the entry may have been made from is there."""
    of_user = known.known_until[keys.partition_of(served.user_id)]
    return served.offset <= of_user and all(served.s <= until + 1 for until in known.known_until.values())


def _spread(column: Column, rows: np.ndarray, n: int) -> Column:
    """The column at its rows of n; missing elsewhere."""
    values, valid = np.zeros(n, dtype=column.values.dtype), np.zeros(n, dtype=bool)
    values[rows], valid[rows] = column.values, column.valid
    return Column(values, valid)


def _bits(vector: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vector, dtype=np.float32).view(np.uint32)


def tell(report: Report) -> None:
    """Count a check for Prometheus."""
    WAITING.inc(report.waiting)
    for name, tally in report.features.items():
        CHECKED.labels(name).inc(tally.checked)
        MISMATCHED.labels(name).inc(tally.mismatched)
        COMPARED.labels(name).inc(tally.staleness_checked)
        DIFFERED.labels(name).inc(tally.stale)
