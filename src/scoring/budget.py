"""How long each stage of an answer may take, split from the one deadline that it has.

    now ── the user's state is read ──▶ read_until ── evaluated and written ──▶ deadline

Instants are those of `time.monotonic`, in seconds.
"""

from typing import NamedTuple

# A call without a deadline of its own, and one with a longer one, gets this much.
LONGEST_CALL_S = 2.0
# What is kept back of every deadline for what comes after the read. Both are work of this process, about a millisecond
# together; but reads that were given up come back in bursts, and then answers wait for each other.
EVALUATION_SHARE, WRITE_SHARE = 0.35, 0.15
# However patient the caller: a state that takes longer does not come, and what waits for it takes memory.
LONGEST_READ_S = 0.25


class Budget(NamedTuple):
    """Until when the user's state may be waited for, and when the answer must be out."""

    read_until: float
    deadline: float


def budget_of(now: float, deadline: float | None, default_ms: float) -> Budget:
    """The budget of an answer that is begun now: the caller's deadline, else the default of the placement, split.

    After its deadline, and when it is as good as there, nothing is left for the read.

    >>> budget_of(10.0, None, 100.0)
    Budget(read_until=10.05, deadline=10.1)
    >>> budget_of(10.0, deadline=9.5, default_ms=100.0)
    Budget(read_until=10.0, deadline=9.5)
    """
    due = min(now + default_ms / 1000 if deadline is None else deadline, now + LONGEST_CALL_S)
    read_s = max(due - now, 0.0) * (1 - EVALUATION_SHARE - WRITE_SHARE)
    return Budget(now + min(read_s, LONGEST_READ_S), due)
