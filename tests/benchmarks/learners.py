"""The learner of crosses beside Vowpal Wabbit, on the same examples of MovieLens-100k, learned in one pass.

Each example is predicted before it is learned (progressive validation: Blum, Kalai and Langford, "Beating the
Hold-Out", COLT 1999); the figure is the mean log loss of these predictions, in nats. Both get the same features in the
same order.

ours    the estimator of `scoring.crosses`, with the settings of a deployment; its offset is the running base rate
theirs  logistic loss, else as Vowpal Wabbit comes (adaptive, normalized, invariant updates); and with 2^22 weights
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time_ns

from rich.table import Table

from behavior.errors import BadInput
from scoring.crosses import OffsetLogisticRegression
from tests.benchmarks.movielens import Rating, ratings

# What the mean log loss may be above the best of theirs, in percent.
LIMIT_PERCENT = 1.0
OURS = "ours"
THEIRS = {"vowpal wabbit": "", "vowpal wabbit -b 22": "-b 22"}
INSTALL = (
    "install both beside the project: `.venv/bin/python -m pip install --no-deps --target var/peers recbole"
    " vowpalwabbit`, and run `PYTHONPATH=var/peers .venv/bin/opportune bench learners`"
)
# The least distance of a probability from 0 and 1, so that no single example decides.
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class LearnersBench:
    """What was measured.

    log_loss    by system: mean progressive log loss, nats
    us_per_example   by system: processor time, the median of the rounds
    above_best_of_theirs_percent   of our log loss; below 0 it is better
    """

    data: str
    examples: int
    liked_percent: float
    log_loss: dict[str, float]
    us_per_example: dict[str, float]
    above_best_of_theirs_percent: float
    limit_percent: float = LIMIT_PERCENT


def measure(home: Path, rounds: int) -> LearnersBench:
    """Learn all ratings once with each system, `rounds` times in turns; the losses are the same each time.

    Raises BadInput where Vowpal Wabbit or the data is not installed.
    """
    del home  # the examples are not the demonstration's
    examples = _installed()
    systems: dict[str, Callable[[list[Rating]], float]] = {OURS: our_log_loss}
    for name, options in THEIRS.items():
        systems[name] = lambda examples, options=options: their_log_loss(examples, options)
    losses: dict[str, float] = {}
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, learn in systems.items():
            began = process_time_ns()
            losses[name] = learn(examples)
            times[name].append((process_time_ns() - began) / 1e3 / len(examples))
    above = losses[OURS] / min(losses[name] for name in THEIRS) - 1.0
    liked = sum(was_liked for _, was_liked in examples)
    return LearnersBench(
        "MovieLens-100k", len(examples), 100.0 * liked / len(examples), losses,
        {name: median(each) for name, each in times.items()}, 100.0 * above,
    )  # fmt: skip


def render(found: LearnersBench) -> Table:
    """The figures as a table for people."""
    table = Table("system", "log loss", "µs of processor per example", title="learners", title_justify="left")
    for name, loss in found.log_loss.items():
        table.add_row(name, f"{loss:.4f}", f"{found.us_per_example[name]:.0f}")
    table.caption = (
        f"{found.data}, {found.examples:,} examples, {found.liked_percent:.1f} % liked; ours against the "
        f"best of theirs: {found.above_best_of_theirs_percent:+.2f} % (limit {found.limit_percent:+.0f} %)"
    )
    return table


def our_log_loss(examples: list[Rating]) -> float:
    """Mean progressive log loss of the estimator of crosses on top of the running base rate."""
    model = OffsetLogisticRegression()
    total, liked, seen = 0.0, 1.0, 2.0
    for features, was_liked in examples:
        x, offset = dict.fromkeys(features, 1.0), math.log(liked / (seen - liked))
        believed = model.predict_proba_one(x, offset)[was_liked]
        total -= math.log(max(believed, _LEAST))
        model.learn_one(x, was_liked, offset=offset)
        liked, seen = liked + was_liked, seen + 1.0
    return total / len(examples)


def their_log_loss(examples: list[Rating], options: str) -> float:
    """Mean progressive log loss of Vowpal Wabbit, as it counts itself."""
    from vowpalwabbit import Workspace

    workspace = Workspace(f"--loss_function logistic --quiet {options}")
    for features, was_liked in examples:
        example = workspace.example(f"{1 if was_liked else -1} | {' '.join(features)}")
        workspace.learn(example)
        workspace.finish_example(example)
    total = workspace.get_sum_loss()
    workspace.finish()
    return total / len(examples)


def _installed() -> list[Rating]:
    try:
        import vowpalwabbit  # noqa: F401 whether it is there
    except ImportError:
        raise BadInput(f"bench learners compares with Vowpal Wabbit, which is not installed; {INSTALL}") from None
    try:
        return ratings()
    except BadInput as missing:
        raise BadInput(f"{missing}; {INSTALL}") from missing
