"""Adaptation: after one persona's tastes have changed, how soon the ranking follows, beside the frozen batch model.

A simulated world; no figure of it stands in for real data. A batch model is fitted to what users did under random
rankings: the smoothed rate of clicks of each persona and category, per time that it was likely looked at. Then the same
visits are ranked twice, by its margins alone and with the learner's corrections, and in the middle one persona's tastes
become those of other categories. Each position that is shown and likely looked at is an example, at once.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from rich.table import Table

from behavior.context import DAYPARTS, part_of_hour
from behavior.event import DAY_US
from scoring.cross_keys import Context
from scoring.example import Example
from scoring.residuals import Residuals
from scoring.shard import Shard
from training.simulation.parameters import Parameters, Shock
from training.simulation.policies import at_random
from training.simulation.rhythm import Visit
from training.simulation.running import Offer, Reaction, Trace, run
from training.simulation.study import expected_click_rate, more_clicks, rate, recovery
from training.simulation.world import World

SUMMARY = "how soon the ranking follows a change of tastes, in a simulated world"
FITTED_D, BEFORE_D, AFTER_D = 10, 10, 20
SHOCKED = 0
EVENTS = 2_000
BOUND = 2.0
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(slots=True, eq=False)
class Adapting:
    """A policy that ranks by the batch model's margins, with what a shard has learned meanwhile if it is to learn.

    margins   float64[personas, n], the batch model's
    """

    world: World
    margins: np.ndarray
    learns: bool
    shard: Shard = field(default_factory=lambda: Shard(BOUND))
    residuals: Residuals = field(default_factory=lambda: Residuals(BOUND))

    def order(self, visit: Visit, offer: Offer) -> np.ndarray:
        """The ranking, best first."""
        persona = int(self.world.people.persona[visit.user])
        found = self.margins[persona] + self.residuals.lookup(
            str(persona), _context(visit), "category", offer.ids, offer.categories
        )
        return np.argsort(-found, kind="stable")

    def hear(self, visit: Visit, offer: Offer, reaction: Reaction) -> None:
        """Learn what came of it."""
        if not self.learns:
            return
        persona = int(self.world.people.persona[visit.user])
        context = _context(visit)
        for position, (place, clicked) in enumerate(zip(reaction.shown.tolist(), reaction.clicked.tolist(), strict=True)):
            example = Example(
                request_id=f"{visit.user}-{visit.number}", user_id=str(visit.user), persona=str(persona), placement="",
                kind="category", id=offer.ids[place], category=offer.categories[place], daypart=context.daypart,
                weekday=context.weekday, device=context.device, page=context.page, t=visit.t,
                margin=float(self.margins[persona, place]) + OFFSET*float(np.log(self.world.examination[position])), outcome="click" if clicked else "",
                reward=float(clicked), is_trial=True, label=clicked,
            )  # fmt: skip
            self.shard.learn([example])
        self.residuals.apply(self.residuals.version + 1, self.shard.changed())
OFFSET=1


def _context(visit: Visit) -> Context:
    return Context(DAYPARTS[int(part_of_hour()[visit.hour])].name, _WEEKDAYS[visit.weekday], visit.device, visit.page)


def fitted(world: World, trace: Trace) -> np.ndarray:
    """The margins of a batch model, float64[personas, n]: smoothed rates of clicks in the trace, as logits."""
    p = world.parameters
    margins = np.zeros((p.personas, p.things))
    for persona in range(p.personas):
        mine = trace.where(trace.persona == persona)
        looks = np.bincount(mine.shown.ravel(), minlength=p.things)
        clicks = np.bincount(mine.shown.ravel(), weights=mine.clicked.ravel(), minlength=p.things)
        if OFFSET: looks = np.bincount(mine.shown.ravel(), weights=np.tile(world.examination,len(mine)), minlength=p.things)
        rate = (clicks + 1.0) / (looks + 10.0)
        margins[persona] = np.log(rate / (1 - rate))
    return margins

def study(seed, users=1000):
    start=datetime(2024,1,1,tzinfo=UTC)
    at=start+timedelta(days=FITTED_D+BEFORE_D)
    world=World(Parameters(seed=seed,users=users,shocks=(Shock(at=at,persona=SHOCKED),)))
    s=world.parameters.start_t
    fit=run(world,at_random(world)[0],world.visits(s,s+FITTED_D*DAY_US))
    m=fitted(world,fit)
    visits=world.visits(s+FITTED_D*DAY_US,s+(FITTED_D+BEFORE_D+AFTER_D)*DAY_US)
    a,f=Adapting(world,m,True),Adapting(world,m,False)
    ta=run(world,a.order,visits,hear=a.hear); tf=run(world,f.order,visits)
    shock=s+(FITTED_D+BEFORE_D)*DAY_US
    r=recovery(ta,tf,persona=SHOCKED,at=shock,after_events=EVENTS)
    tr=run(world,lambda v,o:o.truth.best(),visits)
    print(seed,len(visits),"visits",r.visits,"before %.3f lost %.3f reached %.3f share %s"%(r.before.value,r.lost_to.value,r.reached.value,r.share),"harms",a.shard.harms)
    for x,name in ((ta,"adapt"),(tf,"frozen"),(tr,"best")):
        p0=x.persona==SHOCKED
        print("   ",name,"p0 before %.3f after %.3f"%(x.expected[p0&(x.t<shock)].mean(),x.expected[p0&(x.t>=shock)].mean()),"others %.3f %.3f"%(x.expected[~p0&(x.t<shock)].mean(),x.expected[~p0&(x.t>=shock)].mean()))
    print("   more",more_clicks(ta,tf))
