"""Whether the intervals of off-policy values cover the truth.

simulated     logs of a small world whose truth is enumerated, `rounds` × 200 of them: how often each nominal 95 %
              interval covers it. Simulated, and nothing else
Open Bandit   the value of the Bernoulli Thompson sampling policy, told from the uniformly random log, beside what
              that policy really earned (Saito et al., NeurIPS 2021 datasets track). Read from the wheel `obp`
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import yaml
from rich.console import Group
from rich.table import Table
from rich.text import Text

from behavior.errors import BadInput
from tests.training.ope.world import ASKED_POLICY, ASKED_WEIGHTS, LOG_POLICY, LOG_WEIGHTS, World
from training.evaluation import Estimate
from training.ope.decisions import Decisions
from training.ope.diagnostics import diagnosed
from training.ope.evaluation import Evaluated, evaluated, valued

USERS, ANSWERS_EACH, LOGS_PER_ROUND = 400, 5, 200
CAMPAIGNS = ("all", "men", "women")
# Rankings drawn to estimate the chances of Thompson sampling.
DRAWS = 100_000


@dataclass(frozen=True, slots=True)
class Coverage:
    """One estimator over all logs: values are those of the candidate, `difference` is candidate − log."""

    estimator: str
    covered: float
    difference_covered: float
    mean_error: float
    deviation: float
    mean_width: float
    difference_width: float


@dataclass(frozen=True, slots=True)
class Bandit:
    """One campaign: the other policy's value from the random log, and what it earned on its own log."""

    campaign: str
    found: Evaluated
    on_policy: float
    on_policy_clicks: int
    on_policy_answers: int
    covered: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OpeBench:
    """What was measured; see the module. `share` is that of answers of equal weight, over all logs."""

    simulated_logs: int
    answers: int
    users: int
    truth: float
    truth_of_log: float
    share_mean: float
    share_greatest: float
    coverage: tuple[Coverage, ...]
    bandit: tuple[Bandit, ...]


def measure(home: Path, rounds: int) -> OpeBench:
    """Run both; nothing of the home is used."""
    sample = _sample()
    world, logs = World.of_seed(1), rounds * LOGS_PER_ROUND
    truth, of_log = world.value(ASKED_WEIGHTS, ASKED_POLICY), world.value(LOG_WEIGHTS, LOG_POLICY)
    found, shares = [], []
    for seed in range(logs):
        log = world.log(USERS, ANSWERS_EACH, seed)
        found.append(valued(log)[1])
        shares.append(diagnosed(log).effective / len(log))
    return OpeBench(
        logs, USERS * ANSWERS_EACH, USERS, truth, of_log, float(np.mean(shares)), float(np.max(shares)),
        tuple(
            _coverage(name, [each[place].value for each in found], [each[place].difference for each in found], truth,
                      truth - of_log)
            for place, name in enumerate(each.estimator for each in found[0])
        ),
        tuple(_bandit(sample, campaign) for campaign in CAMPAIGNS),
    )  # fmt: skip


def render(found: OpeBench) -> Group:
    """The figures as tables for people."""
    table = Table(
        title=f"simulated: {found.simulated_logs:,} logs of {found.answers:,} answers to {found.users:,} users; "
        f"answers of equal weight {found.share_mean:.1%} in the mean, {found.share_greatest:.1%} at most; "
        f"true value {found.truth:.4f}, of the log {found.truth_of_log:.4f}",
        title_justify="left",
    )
    headings = ("", "covers the value", "the difference", "mean error", "its deviation", "mean width", "of difference")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for each in found.coverage:
        table.add_row(
            each.estimator, f"{each.covered:.1%}", f"{each.difference_covered:.1%}", f"{each.mean_error:+.4f}",
            f"{each.deviation:.4f}", f"{each.mean_width:.4f}", f"{each.difference_width:.4f}",
        )  # fmt: skip
    return Group(table, *(_campaign(each) for each in found.bandit))


def _campaign(each: Bandit) -> Group:
    table = Table(
        title=f"Open Bandit, {each.campaign}: Bernoulli Thompson sampling from the random log ({each.found.answers:,} "
        f"answers, {each.found.diagnostics.outcomes} clicks); on its own log it earned {each.on_policy:.5f} "
        f"({each.on_policy_clicks} clicks of {each.on_policy_answers:,})",
        title_justify="left",
    )
    for heading in ("", "clicks per answer", "95 %", "covers"):
        table.add_column(heading, justify="right" if heading else "left")
    for value in each.found.values:
        said = "yes" if value.estimator in each.covered else "no"
        table.add_row(
            value.estimator, f"{value.value.value:.5f}", f"\\[{value.value.low:.5f}, {value.value.high:.5f}]", said
        )
    return Group(table, *(Text(f"· {caveat}") for caveat in each.found.caveats))


def _coverage(
    name: str, values: list[Estimate], differences: list[Estimate], truth: float, true_difference: float
) -> Coverage:
    errors = np.array([each.value - truth for each in values])
    return Coverage(
        name,
        float(np.mean([covers(each, truth) for each in values])),
        float(np.mean([covers(each, true_difference) for each in differences])),
        float(errors.mean()),
        float(errors.std()),
        float(np.mean([each.high - each.low for each in values])),
        float(np.mean([each.high - each.low for each in differences])),
    )


def covers(interval: Estimate, truth: float) -> bool:
    """Whether the interval holds the truth."""
    return interval.low <= truth <= interval.high


def _sample() -> Path:
    """The installed wheel's folder, which is found without importing it: its code is not needed, nor what it needs."""
    spec = importlib.util.find_spec("obp")
    if spec is None or not spec.submodule_search_locations:
        raise BadInput("the Open Bandit sample is in the wheel obp; `.venv/bin/pip install --no-deps obp==0.4.1` once")
    return Path(spec.submodule_search_locations[0])


def _bandit(package: Path, campaign: str) -> Bandit:
    random, own = (_log(package, policy, campaign) for policy in ("random", "bts"))
    prior = yaml.safe_load((package / "policy" / "conf" / "prior_bts.yaml").read_text())[campaign]
    alpha, beta = (np.array(prior[name], dtype=np.float64) for name in ("alpha", "beta"))
    chances = _thompson(alpha, beta)
    decisions = _decisions(random, chances, np.log(alpha / beta))
    found = evaluated(
        decisions, candidate=f"Bernoulli Thompson sampling, {campaign}", rewards={"click": 1.0}, window_us=0,
        pool=len(alpha),
    )  # fmt: skip
    clicks = own["click"]
    earned = float(clicks.mean())
    covered = tuple(each.estimator for each in found.values if covers(each.value, earned))
    return Bandit(campaign, found, earned, int(clicks.sum()), len(clicks), covered)


def _log(package: Path, policy: str, campaign: str) -> dict[str, np.ndarray]:
    """The columns item_id, position (from 1), click and propensity_score of one log."""
    file = package / "dataset" / "obd" / policy / campaign / f"{campaign}.csv"
    with duckdb.connect() as connection:
        return connection.execute(
            "SELECT item_id, position, click, propensity_score FROM read_csv(?)", [str(file)]
        ).fetchnumpy()


def _thompson(alpha: np.ndarray, beta: np.ndarray, positions: int = 3) -> np.ndarray:
    """The chance of each item at each position, float64[positions, items]: shares of drawn rankings."""
    generator = np.random.default_rng(1)
    counts = np.zeros((positions, len(alpha)))
    for _ in range(DRAWS // 1000):
        best = np.argsort(-generator.beta(alpha, beta, size=(1000, len(alpha))), axis=1)[:, :positions]
        for position in range(positions):
            counts[position] += np.bincount(best[:, position], minlength=len(alpha))
    return counts / DRAWS


def _decisions(log: dict[str, np.ndarray], chances: np.ndarray, known: np.ndarray) -> Decisions:
    """Rows of the log as answers of one position: where it stood is a part of what is known, not of the decision."""
    item, position = log["item_id"].astype(np.int64), log["position"].astype(np.int64) - 1
    n, rate = len(item), 1 / (1 + np.exp(-known))
    where = np.eye(len(chances))[position]
    shown = np.column_stack([known[item], rate[item], where])
    expected = np.column_stack([chances @ known, chances @ rate, np.eye(len(chances))])[position]
    evenly = np.column_stack([np.full(n, known.mean()), np.full(n, rate.mean()), where])
    # Nobody says which rows are of one user: each counts as its own.
    return Decisions(
        np.arange(n), np.ones(n, dtype=np.int64), log["click"].astype(np.float64)[:, None],
        log["propensity_score"].astype(np.float64)[:, None], chances[position, item][:, None], np.zeros((n, 1)),
        shown[:, None], expected[:, None], evenly[:, None],
    )  # fmt: skip
