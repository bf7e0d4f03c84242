"""Request ids are kept for the events that follow from answers."""

from scoring.messages import event, question
from scoring.shown import ANSWERS, ShownAnswers
from scoring.v1 import scoring_pb2 as wire


def answer(request_id: str, *ids: str) -> wire.ScoreResponse:
    ranked = [wire.Ranked(candidate=wire.Candidate(kind=wire.CANDIDATE_KIND_CATEGORY, id=each)) for each in ids]
    return wire.ScoreResponse(request_id=request_id, ranked=ranked)


def bought(category: str, **fields: str) -> wire.Event:
    return event(message_id="m", kind="purchase", event_time=0, category=category, **fields)


def test_an_event_names_the_latest_answer_that_showed_what_it_is_about() -> None:
    """By user and by category or item; what was not shown, or not to this user, names nothing."""
    shown = ShownAnswers()
    shown.keep(question("u"), answer("first", "TEA", "RICE"))
    shown.keep(question("u"), answer("second", "TEA"))
    assert shown.led_to(bought("TEA", user_id="u")).request_id == "second"
    assert shown.led_to(bought("RICE", user_id="u")).request_id == "first"
    assert shown.led_to(bought("", item="RICE", user_id="u")).request_id == "first"
    assert shown.led_to(bought("SALT", user_id="u")).request_id == ""
    assert shown.led_to(bought("TEA", user_id="v")).request_id == ""
    assert shown.led_to(bought("", user_id="u")).request_id == ""


def test_a_cookie_is_no_user() -> None:
    """Who is recognised only later is found by the cookie; a user whose id reads the same is somebody else."""
    shown = ShownAnswers()
    shown.keep(question(anonymous="c"), answer("r", "TEA"))
    assert shown.led_to(bought("TEA", anonymous_id="c", user_id="u")).request_id == "r"
    assert shown.led_to(bought("TEA", user_id="c")).request_id == ""


def test_what_the_caller_says_stays_and_its_message_is_not_touched() -> None:
    """A request id of the event's own is kept, and a message that gets one is a copy."""
    shown = ShownAnswers()
    shown.keep(question("u"), answer("r", "TEA"))
    assert shown.led_to(bought("TEA", user_id="u", request_id="own")).request_id == "own"
    given = bought("TEA", user_id="u")
    assert shown.led_to(given).request_id == "r"
    assert given.request_id == ""


def test_memory_is_bounded() -> None:
    """The users asked about least recently and the oldest answers of a user are forgotten."""
    shown = ShownAnswers(users=2)
    for user in ("a", "b", "a", "c"):
        shown.keep(question(user), answer(f"of {user}", "TEA"))
    found = [shown.led_to(bought("TEA", user_id=user)).request_id for user in "abc"]
    assert found == ["of a", "", "of c"]
    for number in range(ANSWERS):
        shown.keep(question("a"), answer(str(number), "RICE"))
    assert shown.led_to(bought("TEA", user_id="a")).request_id == ""
