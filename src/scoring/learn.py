"""The learner: corrects the model's margins by what came of what was shown, event by event.

    log ─▶ join ─▶ learn_one per example, in order ─▶ commit weights, model, offsets, pending together

One weight per category, learned with the served margin as an offset: what the model knows already is not learned again.
Killed at any instant, the next run continues from the committed state and ends with the same bits. The only module that
imports River.
"""

import logging
import math
import threading
from collections import Counter as TallyCounter
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable

from prometheus_client import Counter, Gauge
from river import linear_model, optim
from river.utils import VectorDict

from behavior import event as events
from behavior import served as served_entries
from behavior.event import admit
from behavior.served import EVENT_ENTRY
from deployment.archive import Archive
from deployment.clock import Clock, replay_key
from deployment.connections import connect
from deployment.settings import Settings
from scoring.entry import join_in
from scoring.example import Example
from scoring.joiner import PartitionJoin
from scoring.learn_state import LearnState, Model
from scoring.log import GAP_ENTRY, Entry, Log, share_of_each
from scoring.outcomes import Outcomes
from scoring.process import expose_metrics, log_to_stderr, persevere, stop_signals

_log = logging.getLogger("opportune.learn")
WAIT_MS = 200
# AdaGrad's first step is this long whatever the gradient; a hundred outcomes move a weight by about one logit at most.
LEARNING_RATE = 0.05
# The gradient of the log loss lies within ±1 by itself; this keeps that true should the loss ever change.
CLIP_GRADIENT = 1.0

EXAMPLES = Counter("opportune_learn_examples", "Examples learned.", ["label"])
SKIPPED = Counter("opportune_learn_skipped", "Examples left out because their margin is not a finite number.")
NO_EXAMPLE = Counter("opportune_learn_no_example", "Outcomes and positions that made no example.", ["why"])
VERSION = Gauge("opportune_learn_version", "Commits that have changed the weights.")
PENDING = Gauge("opportune_learn_pending", "Served entries that wait for outcomes.")


class OffsetLogisticRegression(linear_model.LogisticRegression):
    """River's logistic regression on top of a margin that is given with each example.

    The gradient is that of log loss at `weights · x + offset`, so the weights learn the residual only.

    >>> model = OffsetLogisticRegression(optim.SGD(0.1), intercept_lr=0.0)
    >>> model.learn_one_from({"TEA": 1.0}, True, offset=20.0)  # the margin was right: nothing left to learn
    >>> abs(model.weights["TEA"]) < 1e-9
    True
    """

    _offset = 0.0

    def learn_one_from(self, x: dict[str, float], y: bool, offset: float) -> None:
        """Learn one example whose margin before any correction is `offset`."""
        self._offset = offset
        try:
            self.learn_one(x, y)
        finally:
            self._offset = 0.0

    def _raw_dot_one(self, x: dict[str, float]) -> float:
        return float(super()._raw_dot_one(x)) + self._offset


class Correction:
    """The River model and its numbers, there and back.

    >>> def bought(margin: float, label: bool) -> Example:
    ...     return Example(*"ru", "", "", "category", *["TEA"] * 2, "", "", "", "", 0, margin, "", 0.0, True, label)
    >>> once, twice = Correction(Model()), Correction(Model())
    >>> for each in (once, twice): _ = each.learn([bought(-2.0, True)])
    >>> twice = Correction(twice.numbers())  # as after a restart
    >>> for each in (once, twice): _ = each.learn([bought(-1.5, False)])
    >>> once.numbers() == twice.numbers()
    True
    """

    def __init__(self, numbers: Model) -> None:
        self._version = numbers.version
        optimizer = optim.AdaGrad(LEARNING_RATE)
        squares: defaultdict[Hashable, float] = defaultdict(float)
        squares.update(numbers.squares)
        optimizer.g2 = squares
        optimizer.n_iterations = numbers.iterations
        self._model = OffsetLogisticRegression(optimizer, intercept_lr=0.0, clip_gradient=CLIP_GRADIENT)
        self._model._weights = VectorDict(dict(numbers.weights))

    def learn(self, examples: Iterable[Example]) -> int:
        """Learn the examples in order; how many were left out because their margin is not finite."""
        skipped = 0
        learned = False
        for example in examples:
            if example.label is None:
                continue
            if not math.isfinite(example.margin):
                skipped += 1
                continue
            self._model.learn_one_from({example.category: 1.0}, example.label, example.margin)
            learned = True
        self._version += learned
        return skipped

    def numbers(self) -> Model:
        """The state as plain numbers, from which a `Correction` continues bit for bit."""
        optimizer = self._model.optimizer
        return Model(self._version, optimizer.n_iterations, dict(self._model.weights), dict(optimizer.g2))


class Learner:
    """Learns from all partitions of a deployment; one process at a time."""

    def __init__(self, log: Log, clock: Clock, state: LearnState, joins: list[PartitionJoin]) -> None:
        self._log = log
        self._clock = clock
        self._state = state
        self._joins = joins
        self._correction = Correction(state.model())

    @property
    def pending(self) -> int:
        """How many served entries wait for outcomes, or for late ones."""
        return sum(len(join.pending) for join in self._joins)

    def run(self, stopping: threading.Event, learned: Callable[["Learner", list[Example], int], None]) -> None:
        """Learn until told to stop; `learned(self, examples, how many were left out)` is called after each commit."""
        while not stopping.is_set():
            self.step(WAIT_MS, learned)

    def step(
        self, wait_ms: int = 0, learned: Callable[["Learner", list[Example], int], None] = lambda *_: None
    ) -> list[Example]:
        """Learn what the log holds beyond the stored offsets and what time has settled, and commit it.

        Raises Fenced if another learner has taken over.
        """
        # Read before the log: what is not in the log afterwards is admitted later than this.
        now = self._clock.now()
        offsets = {number: join.place.offset for number, join in enumerate(self._joins)}
        entries = self._log.read(offsets, wait_ms, share_of_each(len(offsets)))
        touched = dict.fromkeys(entry.partition for entry in entries)
        examples = [example for entry in entries for example in self._take(entry)]
        for number, join in enumerate(self._joins):
            if number not in touched:
                due = join.wait(now)
                examples += due
                if due or join.changed:
                    touched[number] = None
        if touched:
            skipped = self._correction.learn(examples)
            self._state.commit(self._correction.numbers(), {number: self._joins[number] for number in touched})
            learned(self, examples, skipped)
        return examples

    def counted(self) -> dict[str, int]:
        """What made no example since this was last asked, by the words of `attribution.COUNTED`."""
        counts: TallyCounter[str] = TallyCounter()
        for join in self._joins:
            counts.update(join.counts)
            join.counts.clear()
        return counts

    def version(self) -> int:
        """How many commits have changed the weights."""
        return self._correction.numbers().version

    def _take(self, entry: Entry) -> list[Example]:
        join = self._joins[entry.partition]
        if entry.type == EVENT_ENTRY:
            return join.take_event(admit(events.decode(entry.payload), entry.k))
        if entry.type == GAP_ENTRY:
            return join.take_gap(entry.k)
        return join.take_served(served_entries.decode(entry.payload), entry.k)


def learner_of(settings: Settings) -> Learner:
    """Take over as the learner of a deployment.

    Raises BadInput if Redis is used with another plan or number of partitions.
    """
    client = connect(settings)
    keys = join_in(settings, client)
    state = LearnState(client, keys)
    joins = state.joins(settings.partitions, Outcomes.declared(settings))
    log = Log(client, keys, Archive(settings.archive, settings.partitions))
    return Learner(log, Clock(client, replay_key(keys, replay=settings.replay)), state, joins)


def learn(settings: Settings) -> None:
    """Run the learner until SIGTERM or Ctrl-C: `opportune learn`.

    While Redis does not answer it waits, and then takes over again from what was committed.
    """
    log_to_stderr()

    def once(stopping: threading.Event) -> None:
        learner = learner_of(settings)
        _log.info("learning from version %d, %d served entries pending", learner.version(), learner.pending)
        learner.run(stopping, _observe)
        _log.info("stopped at version %d", learner.version())

    with stop_signals() as stopping:
        expose_metrics(settings)
        persevere(once, stopping)


def _observe(learner: Learner, examples: list[Example], skipped: int) -> None:
    for label, word in ((True, "positive"), (False, "negative"), (None, "other")):
        EXAMPLES.labels(word).inc(sum(example.label is label for example in examples))
    SKIPPED.inc(skipped)
    for why, number in learner.counted().items():
        NO_EXAMPLE.labels(why).inc(number)
    VERSION.set(learner.version())
    PENDING.set(learner.pending)
