"""A running deployment as a policy of the simulator: the scorer is asked, and what came of it is tracked.

visit ─▶ clock to the visit ─▶ Track what has happened by then ─▶ Score ─▶ what is shown ─▶ reactions ─▶ ...
"""

import heapq
from collections import Counter
from typing import Any

from behavior.errors import OpportuneError
from opportune.household import latest_admission, settle
from opportune.replay import DeploymentClock
from scoring.client import Client
from scoring.v1 import scoring_pb2 as wire
from training.simulation.events import PLACEMENT, Teller
from training.simulation.rhythm import Visit
from training.simulation.running import Offer, Reaction
from training.simulation.world import World

# What Track takes in one call.
_MOST_EVENTS = 1_000


class Deployed:
    """Asks and tells one deployment that runs on a replay's clock; visits must come in the order of time.

    Events are tracked when the clock has reached them, so that a later visit is answered with what came before it and
    nothing else. A user's own events are waited for; what everybody does together, and what the learner makes of it,
    shows as soon as the deployment has it.

    degraded    how often answers had to do without something, by reason
    tracked     how many events were taken
    """

    def __init__(self, world: World, client: Client, clock: DeploymentClock, placement: str = "") -> None:
        self._kind, self._slots = world.parameters.kind, world.parameters.slots
        self._teller, self._client, self._clock, self._placement = Teller(world), client, clock, placement
        self._waiting: list[tuple[int, int, dict[str, Any]]] = []
        self._number = 0
        self._request_id = ""
        self._places = {name: place for place, name in enumerate(world.things.ids)}
        self.degraded: Counter[str] = Counter()
        self.tracked = 0

    def order(self, visit: Visit, offer: Offer) -> list[int]:
        """What the deployment shows at a visit: places of the offer. Raises BadInput if its clock stands later."""
        self._clock.advance(visit.t)
        user = self._teller.user_id(visit.user)
        settle(self._client, user, self._track_until(visit.t, user))
        answer = self._client.score(
            user, candidates=offer.ids, kind=self._kind, placement=self._placement, zone=visit.zone,
            device=visit.device, page=visit.page, top_k=self._slots,
        )  # fmt: skip
        self._request_id = answer.request_id
        self.degraded.update(each.reason for each in answer.degraded)
        return [self._places[each.candidate.id] for each in answer.ranked]

    def hear(self, visit: Visit, offer: Offer, reaction: Reaction) -> None:
        """Keep what came of the visit until the clock has reached it."""
        for event in self._teller.events(visit, offer, reaction):
            event |= {"request_id": self._request_id, "consent": ("personalization",)}
            event["placement"] = self._placement or PLACEMENT
            heapq.heappush(self._waiting, (event["event_time"], self._number, event))
            self._number += 1

    def finish(self) -> None:
        """Move the clock to the last event and track what is left."""
        if self._waiting:
            last = max(t for t, _, _ in self._waiting)
            self._clock.advance(last)
            self._track_until(last, "")

    def _track_until(self, t: int, user: str) -> int:
        """Track what has happened by t; when the log took the last of it that the user did (µs), 0 if nothing."""
        admitted = 0
        while self._waiting and self._waiting[0][0] <= t:
            due: list[dict[str, Any]] = []
            while self._waiting and self._waiting[0][0] <= t and len(due) < _MOST_EVENTS:
                due.append(heapq.heappop(self._waiting)[2])
            own = [result for event, result in zip(due, self._taken(due), strict=True) if event["user_id"] == user]
            admitted = latest_admission(own) if own else admitted
        return admitted

    def _taken(self, events: list[dict[str, Any]]) -> list[wire.Result]:
        """What became of the events. Raises OpportuneError if one was not accepted, or was a duplicate."""
        results = self._client.track(events)
        refused = [each for each in results if each.status != wire.Result.STATUS_ACCEPTED]
        if refused:
            word = wire.Result.Status.Name(refused[0].status).removeprefix("STATUS_").lower()
            raise OpportuneError(
                f"{len(refused)} of {len(results)} simulated events were not accepted: {word} {refused[0].message}"
            )
        self.tracked += len(results)
        return results
