"""Which partition a user belongs to: for ever."""

from collections import Counter

import pytest

from behavior.partition import partition_of

# Computed once with `b2sum -l 64`, its bytes read as a little-endian number. Changing one loses every user's state.
GOLDEN = (
    ("", 13020603013274838756),
    ("k1-00", 17920858597002987313),
    ("k1-00112233445566778899aabbccddeeff", 11549327303733548818),
    ("k1-ffffffffffffffffffffffffffffffff", 14781529902063931735),
    ("käse", 7584503891383709300),
)


@pytest.mark.parametrize(("user_id", "hashed"), GOLDEN)
def test_a_user_never_moves(user_id: str, hashed: int) -> None:
    """The partition is the stable 64-bit hash modulo P, for every P."""
    for partitions in (1, 2, 64, 1000, 2**32):
        assert partition_of(user_id, partitions) == hashed % partitions


def test_users_spread_over_all_partitions() -> None:
    """Ten thousand users fill 64 partitions evenly: none is empty, none has double its share."""
    sizes = Counter(partition_of(f"k1-{number:032x}", 64) for number in range(10_000))
    assert sorted(sizes) == list(range(64))
    assert max(sizes.values()) < 2 * 10_000 / 64
