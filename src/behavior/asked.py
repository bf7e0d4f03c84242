"""What a raw column asks of a slot."""

from typing import NamedTuple


class Asked(NamedTuple):
    """What a raw column asks of a slot.

    over_us    the window, None for all that the slot has
    hops       how many hops hold something, rather than what they hold together
    """

    over_us: int | None = None
    hops: bool = False


EVER = Asked()


def length_of(asked: Asked) -> int:
    """Of its window, µs."""
    assert asked.over_us is not None  # a slot with hops is asked for nothing else
    return asked.over_us
