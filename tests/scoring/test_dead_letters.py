"""Dead letters, on a real Redis: what is rejected is kept whole and sealed, told apart by reason, and sent again."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from behavior.errors import BadInput, Unavailable
from behavior.event import HOUR_US
from deployment.clock import advance
from deployment.sealing import Sealing
from scoring.dead_letters import Heap, open_letter
from scoring.server import Server
from scoring.v1 import scoring_pb2 as wire
from tests.scoring.entrance import START, Entrance, reported


@pytest.fixture
def entrance(tmp_path: Path, redis_url: str, prefix: str) -> Entrance:
    return Entrance(tmp_path, redis_url, prefix)


class Sent:
    """Track as a client sees it, and what was sent."""

    def __init__(self, entrance: Entrance, calls: int = 1_000) -> None:
        self.entrance = entrance
        self.calls = calls
        self.sizes: list[int] = []

    def __call__(self, events: Sequence[wire.Event]) -> list[wire.Result]:
        """Take the events in, for so many calls."""
        if len(self.sizes) == self.calls:
            raise Unavailable("the server has gone")
        self.sizes.append(len(events))
        fates = [outcome.fate for outcome in self.entrance.track(events)]
        return [wire.Result(status=f"STATUS_{fate.status.upper()}", reason=fate.reason) for fate in fates]


def reasons(entrance: Entrance) -> list[str]:
    return sorted(letter.reason for letter in entrance.letters.kept(0))


def allowing(entrance: Entrance, **changes: object) -> Entrance:
    """The same deployment with other settings."""
    entrance.settings = entrance.settings.replaced(**changes)
    return entrance


def test_letters_are_listed_by_reason(entrance: Entrance) -> None:
    """How many there are of each, when the first and the last were refused; nothing older than what is asked for."""
    entrance.track([reported(kind="BAD"), reported("m2", kind="BAD"), reported("m3", event_time=5)])
    advance(entrance.client, entrance.keys, START + HOUR_US)
    entrance.track([reported("m4", kind="BAD"), reported("m5")])
    bad, late = Heap("bad_kind", 3, START, START + HOUR_US), Heap("too_late", 1, START + 2, START + 2)
    assert entrance.letters.heaps(0) == [bad, late]
    assert entrance.letters.heaps(0, "too_late") == [late]
    assert entrance.letters.heaps(START + 3) == [Heap("bad_kind", 1, START + HOUR_US, START + HOUR_US)]
    assert entrance.letters.heaps(0, "no_user") == []


def test_a_letter_is_the_whole_event(entrance: Entrance) -> None:
    """Whatever was reported can be read again with the key, fields that this version does not keep included."""
    message = reported(
        kind="BAD",
        anonymous_id="cookie",
        item="i",
        value_minor=-1,
        quantity=0,
        zone="Mars",
        properties={"unlisted": "x"},
    )
    entrance.track([message])
    (letter,) = entrance.letters.kept(0)
    assert open_letter(entrance.sealing, letter) == message


def test_what_is_taken_now_is_no_longer_kept(entrance: Entrance) -> None:
    """Once the cause is gone letters become events, in their order, and are removed; the log has each of them once."""
    euros = [reported(f"m{i}", value_minor=i, currency="EUR") for i in range(450)]
    entrance.track(euros)
    assert reasons(entrance) == ["wrong_currency"] * 450
    sent = Sent(allowing(entrance, currency="EUR"))
    redriven = entrance.letters.redrive(entrance.sealing, 0, track=sent)
    assert (redriven.letters, redriven.unopened, redriven.fates) == (450, 0, {"accepted": 450})
    assert max(sent.sizes) <= 200
    assert [event.value for event in entrance.stored()] == list(range(450))
    assert reasons(entrance) == []


def test_only_the_chosen_reason_is_sent(entrance: Entrance) -> None:
    """Letters of other reasons stay where they are."""
    entrance.track([reported(currency="EUR"), reported("m2", kind="BAD")])
    redriven = entrance.letters.redrive(entrance.sealing, 0, "wrong_currency", Sent(allowing(entrance, currency="EUR")))
    assert redriven.fates == {"accepted": 1}
    assert reasons(entrance) == ["bad_kind"]


def test_what_was_taken_meanwhile_is_no_longer_kept(entrance: Entrance) -> None:
    """A letter whose event came again in a better form is a duplicate, and goes."""
    entrance.track([reported("m1", kind="BAD"), reported("m2", currency="EUR"), reported("m2")])
    redriven = entrance.letters.redrive(entrance.sealing, 0, "wrong_currency", Sent(allowing(entrance, currency="EUR")))
    assert redriven.fates == {"duplicate": 1}
    assert reasons(entrance) == ["bad_kind"]


def test_what_is_rejected_again_is_kept_once(entrance: Entrance) -> None:
    """However often letters are sent in vain there is one of each, under the reason of the last refusal."""
    entrance.track([reported(kind="BAD"), reported("m2", event_time=5), reported("m3", currency="EUR", kind="BAD")])
    for _ in range(3):
        redriven = entrance.letters.redrive(entrance.sealing, 0, track=Sent(entrance))
        assert redriven.fates == {"rejected": 3}
        assert reasons(entrance) == ["bad_kind", "bad_kind", "too_late"]
    opened = {open_letter(entrance.sealing, letter).message_id for letter in entrance.letters.kept(0)}
    assert opened == {"m1", "m2", "m3"}
    assert entrance.counted()["rejected:bad_kind"] == 2 * 4


def test_a_dry_run_changes_nothing(entrance: Entrance) -> None:
    """Letters are opened and counted, nothing is sent."""
    entrance.track([reported(kind="BAD"), reported("m2", event_time=5)])
    before = list(entrance.letters.kept(0))
    redriven = entrance.letters.redrive(entrance.sealing, 0)
    assert (redriven.letters, redriven.unopened, dict(redriven.fates)) == (2, 0, {})
    assert list(entrance.letters.kept(0)) == before


def test_what_cannot_be_opened_stays(entrance: Entrance) -> None:
    """A letter of another key, or one whose reason was changed, is neither sent nor lost, and hinders no other."""
    entrance.track([reported(currency="EUR"), reported("m2", currency="EUR")])
    first, second = entrance.letters.kept(0)
    entrance.client.xadd(
        entrance.keys.dead(first.partition), {"r": "bad_kind", "s": first.sealed}, id=f"{second.instant + 1}-0"
    )
    entrance.letters.delete([first])
    redriven = entrance.letters.redrive(entrance.sealing, 0, track=Sent(allowing(entrance, currency="EUR")))
    assert (redriven.letters, redriven.unopened, redriven.fates) == (2, 1, {"accepted": 1})
    assert reasons(entrance) == ["bad_kind"]
    other = Sealing("s1", bytes(32))
    assert entrance.letters.redrive(other, 0, track=Sent(entrance)).unopened == 1


def test_what_was_not_answered_stays(entrance: Entrance) -> None:
    """When the server goes away in the middle, what was answered is done and the rest is sent the next time."""
    entrance.track([reported(f"m{i}", currency="EUR") for i in range(300)])
    allowing(entrance, currency="EUR")
    with pytest.raises(Unavailable):
        entrance.letters.redrive(entrance.sealing, 0, track=Sent(entrance, calls=1))
    assert (len(reasons(entrance)), len(entrance.stored())) == (100, 200)
    assert entrance.letters.redrive(entrance.sealing, 0, track=Sent(entrance)).fates == {"accepted": 100}
    assert (reasons(entrance), len(entrance.stored())) == ([], 300)


def test_a_letter_that_was_sent_but_not_removed_is_sent_again(entrance: Entrance) -> None:
    """If the process ends between answer and removal, the next time finds duplicates: nothing is taken twice."""
    entrance.track([reported(currency="EUR")])
    kept = list(entrance.letters.kept(0))
    Sent(allowing(entrance, currency="EUR"))([open_letter(entrance.sealing, letter) for letter in kept])
    assert entrance.letters.redrive(entrance.sealing, 0, track=Sent(entrance)).fates == {"duplicate": 1}
    assert (reasons(entrance), len(entrance.stored())) == ([], 1)


def test_a_server_without_the_sealing_key_does_not_start(entrance: Entrance) -> None:
    """What is missing is said before anything is served, and how to make it."""
    entrance.settings.sealing_key_file.unlink()
    with pytest.raises(BadInput, match=r"there is no sealing key at .*sealing\.key; make one with `opportune key`"):
        Server(entrance.settings)
