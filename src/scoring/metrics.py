"""What the server tells Prometheus, and where it is wrapped around the work."""

from collections.abc import Iterable
from dataclasses import replace

from prometheus_client import Counter, Gauge, Histogram

from behavior.event import SECOND_US
from behavior.plan import Plan
from deployment.bundles import Bundles
from scoring.answer import Answer
from scoring.collect import Outcome
from scoring.memory import Held
from scoring.model import Bundle, load_bundle
from scoring.states import ReadState, States

# From a fifth of a millisecond to a second: the span between a warm answer and a deadline.
_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0)

REQUESTS = Counter("opportune_requests_total", "Calls answered.", ["method", "code"])
STAGES = Histogram("opportune_stage_seconds", "Time spent per call and stage.", ["method", "stage"], buckets=_BUCKETS)
EVENTS = Counter("opportune_events_total", "Events answered by Track.", ["result", "reason"])
DEGRADED = Counter("opportune_degraded_total", "Answers that had to do without something.", ["reason"])
SERVED_LOST = Counter("opportune_served_lost_total", "Served entries that did not reach the log.")
BUNDLES_REFUSED = Counter("opportune_bundles_refused_total", "Bundles that could not be taken over.")
REFRESH_FAILED = Counter("opportune_refresh_failed_total", "Polls for changes that Redis did not answer.")
LISTENING = Gauge("opportune_listening", "1 once the server listens.")
SERVING = Gauge("opportune_serving", "1 while health says SERVING.")
BUNDLE = Gauge("opportune_bundle_info", "1 for the bundle that serves.", ["bundle_id", "target"])
LEARNER = Gauge("opportune_learner_version", "Version of the learner's weights in use.")
SNAPSHOT = Gauge("opportune_serving_snapshot_instant_seconds", "Instant of the snapshot in use, seconds since 1970.")
STALENESS = Gauge("opportune_serving_snapshot_age_seconds", "Age of the snapshot in use, on the deployment's clock.")


class TimedStates(States):
    """States whose reads are timed."""

    async def read(self, user_id: str) -> ReadState:
        """As `States.read`."""
        with STAGES.labels("Score", "state").time():
            return await States.read(self, user_id)


def load_timed(bundles: Bundles, name: str, plan: Plan) -> Bundle:
    """As `load_bundle`, with predictions timed."""
    bundle = load_bundle(bundles, name, plan)
    return replace(bundle, predict=STAGES.labels("Score", "model").time()(bundle.predict))


def observe_outcomes(outcomes: Iterable[Outcome]) -> None:
    """Count what became of events."""
    for outcome in outcomes:
        EVENTS.labels(outcome.fate.status, outcome.fate.reason).inc()


def observe_answer(answer: Answer) -> None:
    """Count what an answer had to do without."""
    for degradation in answer.degraded:
        DEGRADED.labels(degradation.reason).inc()


def observe_held(held: Held, now: int) -> None:
    """Tell what is in use at `now` (µs)."""
    BUNDLE.clear()
    BUNDLE.labels(held.bundle.bundle_id, held.bundle.target).set(1)
    LEARNER.set(held.residuals.version)
    SNAPSHOT.set(held.snapshot.s / SECOND_US)
    STALENESS.set((now - held.snapshot.s) / SECOND_US)
