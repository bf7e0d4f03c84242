"""What the server tells Prometheus, and where it is wrapped around the work."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
from prometheus_client import Counter, Gauge, Histogram

from behavior.column import Column
from behavior.event import SECOND_US
from behavior.moment import Moment
from behavior.plan import Plan
from deployment.bundles import Bundles
from scoring.answer import Answer
from scoring.collect import Outcome
from scoring.evaluator import Name
from scoring.journal import LOST_FOR, Journal
from scoring.memory import Held
from scoring.model import Bundle, load_bundle
from scoring.stages import timed, timed_async
from scoring.states import Late, ReadState, States, no_matter

REQUESTS = Counter("opportune_requests_total", "Calls answered.", ["method", "code"])
EVENTS = Counter("opportune_events_total", "Events answered by Track.", ["result", "reason"])
DEGRADED = Counter("opportune_degraded_total", "Answers that had to do without something.", ["reason"])
EXPLORED = Counter("opportune_explored_total", "Answers whose order was drawn.", ["policy"])
LATENESS = Histogram(
    "opportune_answer_lateness_seconds",
    "How long after its deadline an answer of Score was made; below 0 it was in time.",
    buckets=(-0.05, -0.02, -0.01, 0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0),
)
SERVED_LOST = Counter("opportune_served_lost_total", "Served entries that did not reach the log.", ["reason"])
for _reason in LOST_FOR:  # there from the beginning, so that the first loss is an increase too
    SERVED_LOST.labels(_reason)
BUNDLES_REFUSED = Counter("opportune_bundles_refused_total", "Bundles that could not be taken over.")
PLACEMENTS_REFUSED = Counter("opportune_placements_refused_total", "Files of placements that could not be taken over.")
REFRESH_FAILED = Counter("opportune_refresh_failed_total", "Polls for changes that Redis did not answer.")
CALLERS = Counter(
    "opportune_caller_calls_total", "Calls held against the access file.", ["caller", "method", "outcome"]
)
ACCESS_REFUSED = Counter("opportune_access_files_refused_total", "Access files that could not be taken over.")
CERTIFICATE_EXPIRES = Gauge(
    "opportune_certificate_expires_seconds", "End of the server's certificate, seconds since 1970; 0 without TLS."
)
LISTENING = Gauge("opportune_listening", "1 once the server listens.")
SERVING = Gauge("opportune_serving", "1 while health says SERVING.")
BUNDLE = Gauge("opportune_bundle_info", "1 for the bundle that serves.", ["bundle_id", "target"])
EVALUATOR = Gauge("opportune_evaluator_info", "1 for who evaluates the bundle's trees: masks or onnx.", ["evaluator"])
PLACEMENTS = Gauge("opportune_placements_info", "1 for the placements that serve.", ["placements_id"])
LEARNER = Gauge("opportune_learner_version", "Version of the learner's weights in use.")
LEARNER_AGE = Gauge(
    "opportune_learner_age_seconds", "Since the learner's last delta came, or Redis confirmed that there is none."
)
SNAPSHOT = Gauge("opportune_serving_snapshot_instant_seconds", "Instant of the snapshot in use, seconds since 1970.")
STALENESS = Gauge("opportune_serving_snapshot_age_seconds", "Age of the snapshot in use, on the deployment's clock.")


class TimedStates(States):
    """States whose reads are timed."""

    @timed_async("state")
    async def read(self, user_id: str, late: Late = no_matter) -> ReadState:
        """As `States.read`."""
        return await States.read(self, user_id, late)


class TimedJournal(Journal):
    """A journal whose taking over of answers is timed; writing them is after the answer and in nobody's way."""

    @timed("journal")
    def record(self, answer: Answer) -> None:
        """As `Journal.record`."""
        Journal.record(self, answer)


@dataclass(frozen=True, slots=True)
class TimedBundle(Bundle):
    """A bundle whose rows are timed as they are laid out."""

    @timed("assemble")
    def assemble(self, finals: Mapping[str, Column], moment: Moment, categories: Sequence[str]) -> np.ndarray:
        """As `Bundle.assemble`."""
        return Bundle.assemble(self, finals, moment, categories)


def load_timed(bundles: Bundles, name: str, plan: Plan, evaluator: Name = "masks") -> Bundle:
    """As `load_bundle`, with rows and predictions timed."""
    bundle = load_bundle(bundles, name, plan, evaluator=evaluator)
    given = {field.name: getattr(bundle, field.name) for field in fields(bundle)}
    return TimedBundle(**given | {"predict": timed("model")(bundle.predict)})


def requests_of(method: str) -> Callable[[str], None]:
    """What counts the calls of a method, told the code of each."""

    @cache
    def increment(code: str) -> Callable[[], None]:
        return REQUESTS.labels(method, code).inc

    return lambda code: increment(code)()


def observe_lost(entries: int, reason: str) -> None:
    """Count served entries that did not reach the log, by why: full, log, ending."""
    SERVED_LOST.labels(reason).inc(entries)


def observe_outcomes(outcomes: Iterable[Outcome]) -> None:
    """Count what became of events."""
    for outcome in outcomes:
        EVENTS.labels(outcome.fate.status, outcome.fate.reason).inc()


def observe_passage(caller: str, method: str, outcome: str) -> None:
    """Count a call of a caller of the access file; of one that nobody knows, the name is empty."""
    CALLERS.labels(caller, method, outcome).inc()


def observe_answer(answer: Answer, now: float) -> None:
    """Count what an answer had to do without, how its order was drawn, and how late it is.

    now    an instant of `time.monotonic`
    """
    LATENESS.observe(now - answer.due)
    if answer.ranked.explored is not None:
        EXPLORED.labels(answer.ranked.explored.policy).inc()
    for degradation in answer.degraded:
        DEGRADED.labels(degradation.reason).inc()


def observe_age(held: Held, now: int) -> None:
    """Tell how old the snapshot in use is at `now` (µs)."""
    STALENESS.set((now - held.snapshot.s) / SECOND_US)


def observe_held(held: Held) -> None:
    """Tell what is in use."""
    BUNDLE.clear()
    BUNDLE.labels(held.bundle.bundle_id, held.bundle.target).set(1)
    EVALUATOR.clear()
    EVALUATOR.labels(held.bundle.evaluator).set(1)
    PLACEMENTS.clear()
    PLACEMENTS.labels(held.placements.placements_id).set(1)
    LEARNER.set(held.residuals.version)
    SNAPSHOT.set(held.snapshot.s / SECOND_US)
