"""Adaptation, simulated: after one persona's tastes have changed, how soon the ranking follows.

A made-up world; no figure of it stands in for real data. A batch model is fitted to what users did under random
rankings: the smoothed rate of clicks of each persona and category. Then the same visits are ranked twice, by its
margins alone and with what a shard of the learner adds, with the settings of production. In the middle one persona's
tastes become those of other categories. What counts is the persona's visits right after 2,000 of its events,
impressions included, until twice as many: the expected clicks that are back, of those that the frozen model has lost.
"""

import statistics
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from rich.table import Table

from behavior.event import DAY_US
from behavior.served import CATEGORY
from scoring.cross_keys import Context, local_words
from scoring.example import Example
from scoring.residuals import Residuals
from scoring.shard import Shard
from tests.scoring.learned import BOUND
from training.evaluation import Estimate
from training.simulation.parameters import Parameters, Shock
from training.simulation.policies import at_random
from training.simulation.rhythm import Visit
from training.simulation.running import Offer, Reaction, Trace, run
from training.simulation.study import expected_click_rate, more_clicks, recovery
from training.simulation.world import World

START = datetime(2024, 1, 1, tzinfo=UTC)
USERS = 600
FITTED_D, BEFORE_D, AFTER_D = 10, 10, 5
SHOCKED, EVENTS, LATER = 0, 2_000, 8_000


@dataclass(frozen=True, slots=True)
class OneWorld:
    """One world; differences are learner less frozen model, expected clicks over all visits, with 95 % intervals.

    recovered   share of the lost expected clicks of the shocked persona that is back
    recovered_later   the same in all visits from LATER events on
    """

    seed: int
    recovered: float
    recovered_low: float
    recovered_high: float
    recovered_later: float
    visits_judged: int
    others_more_clicks: float
    others_low: float
    others_high: float
    more_clicks: float
    more_clicks_low: float
    more_clicks_high: float
    harms: int


@dataclass(frozen=True, slots=True)
class AdaptationBench:
    """What was measured; see the module. One world, of another seed, for each round."""

    source: str
    residual_bound: float
    events_until_judged: int
    events_until_judged_later: int
    median_recovered: float
    worlds: tuple[OneWorld, ...]


def measure(home: Path, rounds: int) -> AdaptationBench:
    """Simulate as many worlds as rounds; nothing in the home is needed."""
    worlds = tuple(_world(seed) for seed in range(1, rounds + 1))
    median = statistics.median(each.recovered for each in worlds)
    return AdaptationBench("simulated", BOUND, EVENTS, LATER, round(median, 3), worlds)


def render(found: AdaptationBench) -> Table:
    """The figures as a table for people."""
    table = Table(
        "world", "recovered", "later", "others: more clicks", "all: more clicks", "harms", title="simulated adaptation"
    )
    for each in found.worlds:
        table.add_row(
            f"{each.seed}",
            f"{each.recovered:.2f} [{each.recovered_low:.2f}, {each.recovered_high:.2f}]",
            f"{each.recovered_later:.2f}",
            f"{each.others_more_clicks:+.0f} [{each.others_low:+.0f}, {each.others_high:+.0f}]",
            f"{each.more_clicks:+.0f} [{each.more_clicks_low:+.0f}, {each.more_clicks_high:+.0f}]",
            f"{each.harms}",
        )
    after, later = found.events_until_judged, found.events_until_judged_later
    table.caption = f"recovered after {after:,} events: median {found.median_recovered:.2f}; later: after {later:,}"
    return table


def _world(seed: int) -> OneWorld:
    shock = Shock(at=START + timedelta(days=FITTED_D + BEFORE_D), persona=SHOCKED)
    world = World(Parameters(seed=seed, users=USERS, shocks=(shock,)))
    fitted_until = world.parameters.start_t + FITTED_D * DAY_US
    margins = fitted(world, run(world, at_random(world)[0], world.visits(world.parameters.start_t, fitted_until)))
    visits = world.visits(fitted_until, fitted_until + (BEFORE_D + AFTER_D) * DAY_US)
    learner = Adapting(world, margins)
    adapting = run(world, learner.order, visits, hear=learner.hear)
    frozen = run(world, Adapting(world, margins).order, visits)
    theirs, others = _until(adapting, shock.t, 2 * EVENTS), adapting.persona != SHOCKED
    back = recovery(adapting.where(theirs), frozen.where(theirs), persona=SHOCKED, at=shock.t, after_events=EVENTS)
    later = recovery(adapting, frozen, persona=SHOCKED, at=shock.t, after_events=LATER)
    beside = more_clicks(adapting.where(others), frozen.where(others), expected_click_rate)
    more = more_clicks(adapting, frozen, expected_click_rate)
    return OneWorld(
        seed,
        *_rounded(back.share, 3),
        round(later.share.value, 3),
        back.visits,
        *_rounded(beside, 1),
        *_rounded(more, 1),
        learner.shard.harms,
    )


@dataclass(slots=True, eq=False)
class Adapting:
    """A policy that ranks by the batch model's margins, float64[personas, n], and what its shard has learned."""

    world: World
    margins: np.ndarray
    shard: Shard = field(default_factory=lambda: Shard(BOUND))
    residuals: Residuals = field(default_factory=lambda: Residuals(BOUND))

    def order(self, visit: Visit, offer: Offer) -> np.ndarray:
        """The ranking, best first."""
        persona = int(self.world.people.persona[visit.user])
        added = self.residuals.lookup(str(persona), _context(visit), CATEGORY, offer.ids, offer.categories)
        return np.argsort(-(self.margins[persona] + added), kind="stable")

    def hear(self, visit: Visit, offer: Offer, reaction: Reaction) -> None:
        """Learn what came of the visit, position by position."""
        self.shard.learn(self._examples(visit, offer, reaction))
        self.residuals.apply(self.residuals.version + 1, self.shard.changed())

    def _examples(self, visit: Visit, offer: Offer, reaction: Reaction) -> list[Example]:
        persona, context = int(self.world.people.persona[visit.user]), _context(visit)
        pairs = zip(reaction.shown.tolist(), reaction.clicked.tolist(), strict=True)
        return [
            Example(
                request_id=f"{visit.user}-{visit.number}", user_id=f"{visit.user}", persona=str(persona), placement="",
                position=position, kind=CATEGORY, id=offer.ids[place], category=offer.categories[place],
                daypart=context.daypart, weekday=context.weekday, device=context.device, page=context.page, t=visit.t,
                margin=float(self.margins[persona, place]), outcome="click" if clicked else "",
                reward=float(clicked), is_trial=True, label=clicked,
            )
            for position, (place, clicked) in enumerate(pairs, 1)
        ]  # fmt: skip


def fitted(world: World, trace: Trace) -> np.ndarray:
    """The margins of a batch model, float64[personas, n]: smoothed rates of clicks on what was shown, as logits."""
    things = world.parameters.things
    margins = np.zeros((world.parameters.personas, things))
    for persona in range(world.parameters.personas):
        mine = trace.where(trace.persona == persona)
        shown = np.bincount(mine.shown.ravel(), minlength=things)
        clicks = np.bincount(mine.shown.ravel(), weights=mine.clicked.ravel(), minlength=things)
        rate = (clicks + 1.0) / (shown + 10.0)
        margins[persona] = np.log(rate / (1.0 - rate))
    return margins


def _until(trace: Trace, at: int, events: int) -> np.ndarray:
    """All visits but those of the shocked persona after so many of its events, bool[v]."""
    since = (trace.persona == SHOCKED) & (trace.t >= at)
    found: np.ndarray = ~since | (np.cumsum(np.where(since, trace.events, 0)) <= events)
    return found


def _context(visit: Visit) -> Context:
    daypart, weekday = local_words(visit.t, visit.utc_offset_s)
    return Context(daypart, weekday, visit.device, visit.page)


def _rounded(found: Estimate, digits: int) -> tuple[float, float, float]:
    return round(found.value, digits), round(found.low, digits), round(found.high, digits)
