"""The states of one partition in memory: what `fold` and `rebuild` add events to.

Fields name states within their hash in Redis, the same everywhere:

    user views           <view>                in the user's hash
    user_category views  <view>|<category>     in the user's hash
    snapshot views       <view>|<entity>       in the partition's hash of partials

A partial is a list of segments. Only the whole deployment knows whether a category had gone missing (design 4.6), so a
partition that saw nothing of it for the retention starts a new segment, and `merged` drops what lies before a gap that
all partitions share.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

import msgspec

from behavior import state
from behavior.event import Admitted, Event
from behavior.plan import ALL_ID, Plan, View
from behavior.state import State
from deployment.user_state import state_field


@dataclass(slots=True)
class Segment:
    """A partition's share of an entity between two gaps; `first_k` is the admission of its first event."""

    first_k: int
    state: State


class PartitionStates:
    """States by field, and which partials have changed since the last commit and since the last snapshot.

    users      {user: {field: state}}, what was loaded or made since the last commit
    partials   {field: segments}, all of the partition's
    """

    def __init__(self, plan: Plan) -> None:
        self.users: dict[str, dict[bytes, State]] = {}
        self.partials: dict[bytes, list[Segment]] = {}
        self.uncommitted: set[bytes] = set()
        self.unpublished: set[bytes] = set()
        self._plan = plan

    def load_user(self, user_id: str, fields: Mapping[bytes, bytes]) -> None:
        """Take in what the store has of a user."""
        self.users[user_id] = {name: state.decode(view_of(self._plan, name), data) for name, data in fields.items()}

    def load_partials(self, fields: Mapping[bytes, bytes]) -> None:
        """Take in all that the store has of the partition's partials."""
        self.partials = {name: decode_partial(view_of(self._plan, name), data) for name, data in fields.items()}
        self.unpublished = set(self.partials)

    def add(self, event: Admitted) -> None:
        """Fold one event into every state that it belongs to."""
        for view in self._plan.views:
            if not state.belongs(view, event):
                continue
            name = field_of(view, event.event)
            if view.is_snapshot:
                self._add_partial(view, name, event)
            else:
                states = self.users.setdefault(event.event.user_id, {})
                states[name] = state.fold(view, states.get(name), event)

    def _add_partial(self, view: View, name: bytes, event: Admitted) -> None:
        segments = self.partials.setdefault(name, [])
        if not segments or event.k - segments[-1].state.seen_e >= view.retention_us:
            segments.append(Segment(event.k, state.fold(view, None, event)))
        else:
            state.fold(view, segments[-1].state, event)
        self.uncommitted.add(name)
        self.unpublished.add(name)

    def committed(self) -> None:
        """Forget the users, and that partials had changed: the store has it all now."""
        self.users.clear()
        self.uncommitted.clear()


def field_of(view: View, event: Event) -> bytes:
    """The field of the state that an event of the view changes."""
    if view.entity == "user":
        return state_field(view)
    return state_field(view, ALL_ID if view.entity == "all" else event.category)


def fields_touched(plan: Plan, events: Iterable[Admitted]) -> dict[str, set[bytes]]:
    """The fields of user hashes that the events will change, by user."""
    fields: dict[str, set[bytes]] = {}
    for event in events:
        for view in plan.of_entity("user", "user_category"):
            if state.belongs(view, event):
                fields.setdefault(event.event.user_id, set()).add(field_of(view, event.event))
    return fields


def view_of(plan: Plan, name: bytes) -> View:
    """The view that a field belongs to."""
    return plan.view(name.partition(b"|")[0].decode())


def encode_user(plan: Plan, states: Mapping[bytes, State]) -> dict[bytes, bytes]:
    """A user's states as the fields of its hash."""
    return {name: state.encode(view_of(plan, name), each) for name, each in states.items()}


def encode_partials(plan: Plan, states: PartitionStates) -> dict[bytes, bytes]:
    """The partials that have changed since the last commit, as fields of the partition's hash."""
    return {name: encode_partial(view_of(plan, name), states.partials[name]) for name in sorted(states.uncommitted)}


def encode_partial(view: View, segments: list[Segment]) -> bytes:
    """The bytes of a partial: a MessagePack array of [first_k, state bytes]."""
    return msgspec.msgpack.encode([(each.first_k, state.encode(view, each.state)) for each in segments])


def decode_partial(view: View, data: bytes) -> list[Segment]:
    """The partial that `encode_partial` wrote."""
    pairs = msgspec.msgpack.decode(data, type=list[tuple[int, bytes]])
    return [Segment(first_k, state.decode(view, each)) for first_k, each in pairs]


def merged(view: View, partials: Iterable[list[Segment]]) -> State | None:
    """The entity's state over all partitions: the sum of its segments since the last gap that they all share."""
    whole: State | None = None
    for segment in sorted(chain.from_iterable(partials), key=lambda each: each.first_k):
        if whole is None or segment.first_k - whole.seen_e >= view.retention_us:
            whole = State(segment.state.seen_e, list(segment.state.values))
        else:
            whole = state.merge(view, whole, segment.state)
    return whole
