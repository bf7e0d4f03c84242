"""What a client's users were shown last, so that the events that follow from an answer name it."""

import threading
from collections import OrderedDict, deque

from scoring.v1 import scoring_pb2 as wire

USERS = 10_000
# Several places of a page, each with an answer of its own.
ANSWERS = 4


class ShownAnswers:
    """The last answers of the last users, by this client; bounded, and safe to share between threads.

    Other processes know nothing of them: where answers and events do not pass through one client, give an event its
    `request_id` yourself.
    """

    def __init__(self, users: int = USERS) -> None:
        self._users = users
        self._lock = threading.Lock()
        self._answers: OrderedDict[tuple[str, str], deque[tuple[str, frozenset[str]]]] = OrderedDict()

    def keep(self, request: wire.ScoreRequest, answer: wire.ScoreResponse) -> None:
        """Remember which request id answered this user, and with what."""
        shown = (answer.request_id, frozenset(each.candidate.id for each in answer.ranked))
        who = (request.user_id, request.anonymous_id)
        with self._lock:
            self._answers.setdefault(who, deque(maxlen=ANSWERS)).appendleft(shown)
            self._answers.move_to_end(who)
            while len(self._answers) > self._users:
                self._answers.popitem(last=False)

    def led_to(self, event: wire.Event) -> wire.Event:
        """The event with the request id of the user's latest answer that showed its item or category.

        As it is if it names a request, or if no answer that is remembered showed it.
        """
        request_id = "" if event.request_id else self._latest(event)
        if not request_id:
            return event
        named = wire.Event()
        named.CopyFrom(event)
        named.request_id = request_id
        return named

    def _latest(self, event: wire.Event) -> str:
        about = {event.item, event.category} - {""}
        # A request names one of the two; an event of somebody who has just been recognised may name both.
        whos = ((event.user_id, ""), ("", event.anonymous_id))
        with self._lock:
            answers = [each for who in whos if who != ("", "") for each in self._answers.get(who, ())]
        return next((request_id for request_id, shown in answers if shown & about), "")
