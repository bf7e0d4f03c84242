"""Whether Redis is worth asking: after failures in a row only a few questions go through, until one is answered.

So a Redis that is away costs an answer nothing, and one that comes back is not met by everybody at once.

    closed ── FAILURES in a row ──▶ open: one question every PROBE_S ── an answer ──▶ closed
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from behavior.partition import partition_of

FAILURES = 5
# Ten questions a second find out soon enough that it is back, and are no burden to one that struggles.
PROBE_S = 0.1


@dataclass(slots=True)
class Circuit:
    """Follows what became of questions; instants are those of `time.monotonic`.

    >>> circuit = Circuit()
    >>> [circuit.failed(0.0) for _ in range(FAILURES)]
    [False, False, False, False, True]
    >>> circuit.allows(0.05), circuit.allows(0.11), circuit.allows(0.12)
    (False, True, False)
    >>> circuit.answered(), circuit.allows(0.13)
    (True, True)
    """

    _failures: int = field(default=0, init=False)
    _next_probe: float = field(default=0.0, init=False)

    @property
    def is_open(self) -> bool:
        """Whether most questions are held back."""
        return self._failures >= FAILURES

    def allows(self, now: float) -> bool:
        """Whether to ask now. While it is open, who is told so is the probe, and the next one is due PROBE_S later."""
        if self._failures < FAILURES:
            return True
        if now < self._next_probe:
            return False
        self._next_probe = now + PROBE_S
        return True

    def failed(self, now: float) -> bool:
        """A question was not answered in time; whether that has opened the circuit."""
        self._failures += 1
        if self._failures != FAILURES:
            return False
        self._next_probe = now + PROBE_S
        return True

    def answered(self) -> bool:
        """A question was answered; whether that has closed the circuit."""
        was_open, self._failures = self._failures >= FAILURES, 0
        return was_open


class Circuits:
    """The circuits of a deployment: one for one Redis; on a cluster, whose nodes fail apart, one a partition."""

    def __init__(self, partitions: int = 1) -> None:
        self._circuits: Sequence[Circuit] = tuple(Circuit() for _ in range(partitions))

    @classmethod
    def of(cls, partitions: int, *, cluster: bool) -> "Circuits":
        """Those of a deployment of so many partitions."""
        return cls(partitions if cluster else 1)

    def of_partition(self, partition: int) -> Circuit:
        """The circuit of a partition."""
        return self._circuits[partition if len(self._circuits) > 1 else 0]

    def of_user(self, user_id: str) -> Circuit:
        """The circuit of a user's partition."""
        many = len(self._circuits)
        return self._circuits[partition_of(user_id, many) if many > 1 else 0]
