"""`opportune learn`: a learner process from the settings, and what it tells Prometheus."""

import threading
from collections import Counter as Tally
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from deployment.archive import Archive
from deployment.clock import Clock, replay_key
from deployment.connections import connect
from deployment.settings import Settings
from scoring.entry import join_in
from scoring.example import Example
from scoring.joiner import PartitionJoin
from scoring.learning import Joining, Learning, begin
from scoring.leases import holder_name
from scoring.log import Log
from scoring.outcomes import Outcomes
from scoring.process import expose_metrics, keep_for_good, log_to_stderr, persevere, stop_signals
from scoring.shard import Shard

if TYPE_CHECKING:
    import redis

LABELS = {True: "positive", False: "negative", None: "none"}

EXAMPLES = Counter("opportune_learn_examples", "Examples learned.", ["label"])
NO_EXAMPLE = Counter("opportune_learn_no_example", "Outcomes and positions that made no example.", ["why"])
SKIPPED = Counter("opportune_learn_skipped", "Examples left out because their margin is no number, or far out.")
HARMS = Gauge(
    "opportune_learn_harms", "How often corrections, or labels, were seen to do harm and were taken back.", ["shard"]
)
RESTING = Gauge("opportune_learn_resting", "Personas of which nothing is learned for a while, after harm.", ["shard"])
FROZEN = Gauge("opportune_learn_frozen", "1 while the operator has frozen what is learned.")
SHARDS = Gauge("opportune_learn_shards", "Shards that this process learns.")
VERSION = Gauge("opportune_learn_version", "Commits that have changed a shard's numbers.", ["shard"])
PENDING = Gauge("opportune_learn_pending", "Served entries that wait for outcomes.", ["shard"])
LAG = Gauge(
    "opportune_learn_log_lag_seconds", "How long the oldest entry of the last round had waited in the log; 0 if none."
)
ROUND = Gauge("opportune_learn_round_timestamp_seconds", "When the learner last ended a round, seconds since 1970.")


def joining_of(settings: Settings) -> Joining:
    """What makes the join of a partition, as the deployment attributes."""
    outcomes = Outcomes.declared(settings)
    return lambda place, mine: PartitionJoin(outcomes, mine, place)


def learning_of(settings: Settings, client: "redis.Redis", holder: str) -> Learning:
    """A learner process of a deployment, which shares the shards with all others; `holder` names it.

    Raises BadInput if Redis is used with another plan or number of partitions.
    """
    keys = join_in(settings, client)
    log = Log(client, keys, Archive(settings.archive, settings.partitions))
    clock = Clock(client, replay_key(keys, replay=settings.replay))
    return Learning(
        client, keys, log, clock, joining_of(settings), partial(Shard, settings.residual_bound),
        shards=settings.learner_shards, holder=holder, ttl_ms=round(settings.lease_s * 1000),
    )  # fmt: skip


def learn(settings: Settings) -> None:
    """Learn until SIGTERM or Ctrl-C: `opportune learn`.

    While Redis does not answer it waits, and then takes over again from what was committed.
    """
    log_to_stderr()
    holder = holder_name()
    has_begun = False

    def once(stopping: threading.Event) -> None:
        nonlocal has_begun
        with connect(settings) as client:
            if not has_begun:  # who only comes back after an absence of Redis follows what others have begun since
                begin(client, join_in(settings, client), settings.learner_shards)
                has_begun = True
            learning_of(settings, client, holder).run(stopping, _tell)

    with stop_signals() as stopping:
        expose_metrics(settings)
        keep_for_good()
        persevere(once, stopping)


def _tell(examples: Sequence[Example], learning: Learning) -> None:
    for label, number in Tally(example.label for example in examples).items():
        EXAMPLES.labels(LABELS[label]).inc(number)
    LAG.set(learning.waited_s)
    ROUND.set_to_current_time()
    SHARDS.set(len(learning.own))
    FROZEN.set(learning.is_frozen)
    for own in learning.own.values():
        VERSION.labels(own.number).set(own.version)
        PENDING.labels(own.number).set(sum(len(join.pending) for join in own.joins))
        HARMS.labels(own.number).set(own.learned.harms)
        RESTING.labels(own.number).set(own.learned.resting)
        SKIPPED.inc(own.learned.take_skipped())
        for join in own.joins:
            for why, number in join.counts.items():
                NO_EXAMPLE.labels(why).inc(number)
            join.counts.clear()
