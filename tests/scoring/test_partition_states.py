"""A partition's states in memory: what is loaded, what is kept, and what is forgotten once the store has it."""

import random

import pytest

from behavior.event import Admitted, admit
from scoring.partition_states import PartitionStates, fields_touched
from tests.scoring.deployments import INTERVAL, PLAN, START, USERS, events_of


def admitted(number: int, seed: int, every_us: int = INTERVAL // 7) -> list[Admitted]:
    """Events in the order of admission."""
    return [admit(event, START + place * every_us) for place, event in enumerate(events_of(number, seed))]


@pytest.mark.parametrize("seed", range(5))
def test_loaded_again_at_any_moment_the_bytes_are_the_same(seed: int) -> None:
    """Stored and read back between any two events, users and open deltas have the bytes of one that ran through."""
    draw = random.Random(seed)
    through, now = PartitionStates(PLAN), PartitionStates(PLAN)
    users: dict[str, dict[bytes, bytes]] = {user: {} for user in USERS}
    deltas: dict[bytes, bytes] = {}
    for event in admitted(60, seed):
        if draw.random() < 0.3:
            for user, fields in now.encoded_users().items():
                users[user] |= fields
            deltas |= now.encoded_deltas()
            now = PartitionStates(PLAN)
            now.load_deltas(deltas)
        if event.event.user_id not in now.users:
            now.load_users({event.event.user_id: users[event.event.user_id]})
        for each in (through, now):
            each.add(event)
    for user, fields in now.encoded_users().items():
        users[user] |= fields
    assert {user: fields for user, fields in users.items() if fields} == through.encoded_users()
    assert deltas | now.encoded_deltas() == through.encoded_deltas()


def test_exactly_what_events_change_is_asked_for() -> None:
    """The fields that are loaded before folding are those that folding changes."""
    events = admitted(60, seed=7)
    states = PartitionStates(PLAN)
    for event in events:
        states.add(event)
    changed = {user: set(fields) for user, fields in states.users.items()}
    assert {user: set(fields) for user, fields in fields_touched(PLAN, events).items()} == changed


def test_what_is_committed_and_closed_is_forgotten() -> None:
    """Users and closed intervals leave memory; an open interval stays, and is written again only if it changes."""
    folded = [each for each in admitted(60, seed=8) if each.event.purposes & 1 and each.event.kind != "scroll"]
    states = PartitionStates(PLAN)
    for event in folded:
        states.add(event)
    ends = sorted({end for end, _ in states.deltas})
    states.committed(ends[-2])
    assert states.users == {}
    assert {end for end, _ in states.deltas} == {ends[-1]}
    assert states.encoded_deltas() == {}
    states.add(folded[-1])
    assert states.encoded_deltas().keys() <= {str(ends[-1]).encode() + b"|" + name for _, name in states.deltas}
    assert states.encoded_deltas() != {}
