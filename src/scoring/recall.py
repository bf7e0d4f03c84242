"""What an answer knows of its user: read within its budget, else remembered, else nothing.

    read in time ──▶ the state itself
    not in time  ──▶ the state as it was read last ──▶ the persona as it was last ──▶ nothing, as of an unknown user

The memory is bounded, and forgets after a while: what is forgotten in Redis must not live on here.
"""

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from behavior.plan import Plan
from deployment.clock import AsyncClock
from deployment.connections import UNANSWERED, is_silence
from deployment.user_state import UserState
from scoring.budget import Budget
from scoring.circuit import Circuit, Circuits
from scoring.patience import Patience
from scoring.states import ReadState, States

_log = logging.getLogger("opportune.recall")
# Of all users together; a field is a view, or a view and category, of one user, and takes some 200 bytes.
FIELDS = 150_000
PERSONAS = 50_000
KEPT_S = 600.0
# A read that was given less than this and did not come says nothing about Redis: the caller was in a hurry.
FAIR_S = 0.02
# Reads that have come too late for their answers and still go on: so many at most.
LATE = 100

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a user.

    now         the deployment's clock, µs
    offset, state   as `States.read` gives them; of nothing known, 0 and a state without fields
    missed      why the state was not read in time; empty if it was
    age_s       how long ago it was read: 0 of one that was read now; None if nothing is remembered either
    persona     the user's when it was last told, if the state is neither read nor remembered; else empty
    clock_read  whether `now` was read now; in production it always is
    """

    now: int
    offset: int
    state: UserState
    missed: str = ""
    age_s: float | None = 0.0
    persona: str = ""
    clock_read: bool = True


class Recent(Generic[Value]):
    """The values that were put last, by user, each for KEPT_S; all together weigh at most `most`.

    >>> recent = Recent[str](most=2)
    >>> recent.put("ada", "A", now=0.0), recent.put("bob", "B", now=1.0), recent.put("eve", "E", now=2.0)
    (None, None, None)
    >>> recent.get("ada", now=3.0), recent.get("bob", now=3.0), recent.get("eve", now=3.0 + KEPT_S)
    (None, ('B', 2.0), None)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._weight = 0
        self._kept: OrderedDict[str, tuple[Value, float, int]] = OrderedDict()

    @property
    def weight(self) -> int:
        """What all of them weigh."""
        return self._weight

    def put(self, user_id: str, value: Value, now: float, weight: int = 1) -> None:
        """Keep a value unless there is a newer one; the oldest go as needed, at once if it is too heavy."""
        former = self._kept.get(user_id)
        if former is not None and former[1] > now:
            return
        self.drop(user_id)
        self._kept[user_id] = (value, now, weight)
        self._weight += weight
        while self._weight > self._most:
            self.drop(next(iter(self._kept)))

    def get(self, user_id: str, now: float) -> tuple[Value, float] | None:
        """The value and how many seconds ago it was put; None if there is none, or it is too old."""
        found = self._kept.get(user_id)
        if found is None or now - found[1] > KEPT_S:
            return None
        return found[0], now - found[1]

    def drop(self, user_id: str) -> None:
        """Keep nothing of a user."""
        found = self._kept.pop(user_id, None)
        if found is not None:
            self._weight -= found[2]


class Recall:
    """Reads what answers know of their users, and remembers it.

    A read that does not come in time is let go on for a while: its connection stays whole, so that nothing has to be
    connected anew when a frozen Redis wakes up, and over a slow line it renews at least what is remembered.
    """

    def __init__(self, circuits: Circuits | None = None) -> None:
        self._circuits = circuits or Circuits()
        self._patience = Patience()
        self._states: Recent[ReadState] = Recent(FIELDS)
        self._personas: Recent[str] = Recent(PERSONAS)

    async def know(self, user_id: str, budget: Budget, plan: Plan, states: States, clock: AsyncClock) -> Known:
        """What is known of the user when the budget's read is over at the latest.

        plan    of the snapshot: what is remembered under another one is not used

        Raises Unavailable if Redis answers and has lost the plan.
        """
        began = time.monotonic()
        left_s = budget.read_until - began
        circuit = self._circuits.of_user(user_id)
        missed = _held_back(circuit, states, left_s, began)
        if not missed:
            try:
                with self._patience.until(budget.read_until) as wait:
                    read = await states.read(user_id, lambda late: self._remember(user_id, late, began))
                    now = await clock.now()
            except UNANSWERED as error:
                if wait.is_over:
                    missed = f"Redis did not answer within {left_s * 1000:.0f} ms"
                    _tell_failed(circuit, fair=left_s >= FAIR_S)
                else:
                    missed = f"Redis did not answer ({type(error).__name__})"
                    _tell_failed(circuit, fair=is_silence(error))
            else:
                _tell_answered(circuit)
                self._remember(user_id, read, began)
                return Known(now, read.offset, read.state)
        return self._remembered(user_id, plan, clock, missed)

    def tell(self, user_id: str, known: Known, persona: str) -> None:
        """Remember the persona of a user whose state was read; an empty one is none."""
        if persona and not known.missed and known.state.fields:
            self._personas.put(user_id, persona, time.monotonic())

    def _remember(self, user_id: str, read: ReadState, now: float) -> None:
        if read.state.fields:
            self._states.put(user_id, read, now, len(read.state.fields))
        else:  # perhaps forgotten meanwhile
            self._states.drop(user_id)
            self._personas.drop(user_id)

    def _remembered(self, user_id: str, plan: Plan, clock: AsyncClock, missed: str) -> Known:
        now = time.monotonic()
        instant, clock_read = clock.latest(), clock.replay_key is None
        found = self._states.get(user_id, now)
        if found is not None and found[0].state.plan is plan:
            read, age_s = found
            return Known(instant, read.offset, read.state, missed, age_s, clock_read=clock_read)
        told = self._personas.get(user_id, now)
        persona = "" if told is None else told[0]
        return Known(instant, 0, UserState(plan, {}), missed, None, persona, clock_read)


def _held_back(circuit: Circuit, states: States, left_s: float, now: float) -> str:
    """Why Redis is not even asked; empty if it is."""
    if left_s <= 0:
        return "no time was left to read the state"
    if states.given_up >= LATE or not circuit.allows(now):
        return "Redis does not answer at the moment"
    return ""


def _tell_failed(circuit: Circuit, *, fair: bool) -> None:
    if fair and circuit.failed(time.monotonic()):
        _log.warning("Redis does not answer reads of states in time; answers go by what is remembered")


def _tell_answered(circuit: Circuit) -> None:
    if circuit.answered():
        _log.info("Redis answers again; states are read as before")
