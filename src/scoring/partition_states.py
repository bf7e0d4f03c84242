"""The states of one partition in memory: what `fold` and `rebuild` add events to.

    user views and pairs   {user: {field: state}}               in the user's hash, as `deployment.user_state` names it
    snapshot views         {(interval's end, field): delta}     in the partition's deltas, `<interval's end>|<field>`
                           field: <view's letter><entity>

A delta is what the partition adds to an entity's state within one snapshot interval. It waits until every partition has
closed the interval, then the publisher merges it into the entity's whole state. So a partition never holds more of an
item than the last minute brought, however long its history.
"""

from collections.abc import Iterable, Mapping

from behavior import state
from behavior.event import Admitted, Event
from behavior.plan import ALL_ID, Plan, View
from behavior.state import State
from deployment.user_state import state_field
from scoring.deltas import Delta, decode_deltas, encode_deltas


class PartitionStates:
    """States by user and deltas by interval, and which deltas have changed since the last commit.

    users    {user: {field: state}}, what was loaded or made since the last commit
    deltas   {(interval's end, field): delta} of intervals that are not closed yet
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.users: dict[str, dict[bytes, State]] = {}
        self.deltas: dict[tuple[int, bytes], Delta] = {}
        self.uncommitted: set[tuple[int, bytes]] = set()

    def load_users(self, stored: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """Take in what the store has of users."""
        places = [(user, name) for user, fields in stored.items() for name in fields]
        blobs = [(self.plan.lettered(name), stored[user][name]) for user, name in places]
        for user in stored:
            self.users[user] = {}
        for (user, name), each in zip(places, state.decode_all(blobs), strict=True):
            self.users[user][name] = each

    def load_deltas(self, stored: Mapping[bytes, bytes]) -> None:
        """Take in the deltas of open intervals."""
        self.deltas = decode_deltas(self.plan, stored)

    def add(self, event: Admitted) -> None:
        """Fold one event into every state and delta that it belongs to."""
        self.add_to_user(event)
        said, interval = event.event, self.plan.interval_us
        for view in self.plan.snapshot_views:
            if state.belongs(view, event):
                place = (event.k - event.k % interval + interval, field_of(view, said))
                known = self.deltas.get(place)
                if known is None:
                    self.deltas[place] = Delta(event.k, state.fold(view, None, event))
                else:
                    state.fold(view, known.state, event)
                self.uncommitted.add(place)

    def add_to_user(self, event: Admitted) -> None:
        """Fold one event into the states of its user only."""
        said = event.event
        for view in self.plan.user_views:
            if state.belongs(view, event):
                states = self.users.setdefault(said.user_id, {})
                name = field_of(view, said)
                states[name] = state.fold(view, states.get(name), event)

    def encoded_users(self) -> dict[str, dict[bytes, bytes]]:
        """The users' states as the fields of their hashes."""
        places = [(user, name, each) for user, fields in self.users.items() for name, each in fields.items()]
        blobs = state.encode_all([(self.plan.lettered(name), each) for _, name, each in places])
        found: dict[str, dict[bytes, bytes]] = {}
        for (user, name, _), blob in zip(places, blobs, strict=True):
            found.setdefault(user, {})[name] = blob
        return found

    def encoded_deltas(self) -> dict[bytes, bytes]:
        """The deltas that have changed since the last commit, as fields of the partition's hash."""
        return encode_deltas(self.plan, {place: self.deltas[place] for place in sorted(self.uncommitted)})

    def committed(self, closed: int) -> None:
        """Forget the users, and the deltas of intervals that end by `closed`: the store has it all now."""
        self.users.clear()
        self.uncommitted.clear()
        for place in [place for place in self.deltas if place[0] <= closed]:
            del self.deltas[place]


def field_of(view: View, event: Event) -> bytes:
    """The field of the state that an event of the view changes."""
    if view.entity == "user":
        return state_field(view)
    return state_field(view, ALL_ID if view.entity == "all" else getattr(event, str(view.needs)))


def fields_touched(plan: Plan, events: Iterable[Admitted]) -> dict[str, list[bytes]]:
    """The fields of user hashes that the events will change, by user."""
    fields: dict[str, dict[bytes, None]] = {}
    for event in events:
        for view in plan.user_views:
            if state.belongs(view, event):
                fields.setdefault(event.event.user_id, {})[field_of(view, event.event)] = None
    return {user: list(names) for user, names in fields.items()}
