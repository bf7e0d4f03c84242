"""Stored states, byte for byte, with what they say: nobody changes a format without changing this file.

A row names a view's features, the events of `log.LOG` that were folded, the bytes in parts, and the raw values that
they say at an instant. The parts are: the byte that names the format; the length of the numbers, in format 2 only where
there are texts; `seen_e`; the numbers of each slot; the texts. Numbers are zigzag LEB128: 02 is 1, 04 is 2, 01 is -1.
"""

from dataclasses import dataclass

from behavior.aggregation import Aggregation
from behavior.event import DAY_US, HOUR_US, Admitted
from behavior.words import affinity, age, count, distinct, ever, first, last, mean, rate, recent, total
from tests.golden.log import LOG, M1, M2, M3, M4, M5, T0

ADA, PAIR, ITEM, DAIRY, ALL = ("k1-ada",), ("k1-ada", "dairy"), ("i-1",), ("dairy",), ("all",)


@dataclass(frozen=True)
class Stored:
    """One state: the bytes in parts, and the raw values that they say at an instant."""

    entity: str
    key: tuple[str, ...]
    features: tuple[Aggregation, ...]
    log: tuple[Admitted, ...]
    parts: tuple[str, ...]
    at: int
    raw: list[object]

    @property
    def data(self) -> bytes:
        """The stored bytes."""
        return bytes.fromhex("".join(self.parts))


# ------------------------------------------------------------------------------------------------------------ format 1

# Made by the last version that wrote it. `count` and `ever` of purchases are one sum; 24h and 7d share their hops.
OLD_FEATURES = (
    count("purchase"), count("purchase", over="24h"), count("purchase", over="7d"), count("*", over="30d"),
    total("purchase.value", over="7d"), total("*.quantity"), ever("refund"), ever("purchase"), age("item_view"),
    age("purchase"), last("purchase.category"), last("*.utc_offset_s"), last("*.device"),
)  # fmt: skip
_T27H, _T73H = T0 + 27 * HOUR_US, T0 + 3 * DAY_US + HOUR_US
_M3, _M4, _M5 = M3.e, M4.e, M5.e
FORMAT_1 = (
    Stored(
        "user", ADA, OLD_FEATURES, LOG[:5],
        ("01", "62", "c0929eb5d7a1ad05", "06", "0400023204", "0400020206", "00", "02", "00", "c28eaee3a005", "02",
         "02c08db701", "02c08db701ffe001", "c292beaeb90500", "95a26d34a56bc3a47365a26d34a26d31a570686f6e65"),
        _T27H, [3, 1, 3, 4, 0, 1, 0, 3, _M3, _M4, "käse", -14_400, "phone"],
    ),
    Stored(
        "user", ADA, OLD_FEATURES, LOG,
        ("01", "8401", "8080919fa9abad05", "06", "045e023204", "06000204020206", "00", "02", "02", "82fca0cdf20e",
         "c2edf2e9d109", "c2edf2e9d109c08db701", "c2edf2e9d109c08db701ffe001", "8280b1988b0f00",
         "95a26d34a56bc3a47365a26d34a26d31a570686f6e65"),
        _T73H, [3, 0, 3, 5, 0, 1, 1, 3, _M3, _M4, "käse", -14_400, "phone"],
    ),
    Stored(
        "user_category", PAIR, OLD_FEATURES, LOG[:5],
        ("01", "4a", "8084f0d1b69cad05", "04", "020004", "020006", "00", "02", "00", "02", "828490cb18", "828490cb1800",
         "00", "828490cb1800", "94a26d31a56461697279a26d31a570686f6e65"),
        _T27H, [2, 0, 2, 3, 0, 1, 0, 2, _M3, T0, "dairy", None, "phone"],
    ),
    Stored(
        "user_category", PAIR, OLD_FEATURES, LOG,
        ("01", "60", "8080919fa9abad05", "04", "02900104", "0400020606", "00", "02", "02", "82fca0cdf20e",
         "8280b1988b0f", "8280b1988b0f00", "00", "8280b1988b0f00", "94a26d31a56461697279a26d31a570686f6e65"),
        _T73H, [2, 0, 2, 4, 0, 1, 1, 2, _M3, T0, "dairy", None, "phone"],
    ),
    Stored(
        "category", DAIRY, OLD_FEATURES, LOG[:5],
        ("01", "62", "8084f0d1b69cad05", "06", "020006", "020008", "020080a0b787e905", "10", "00", "02", "808490cb18",
         "808490cb1880a0f5afb905", "00", "828490cb1800", "94a26d35a56461697279a26d31a570686f6e65"),
        _T27H, [3, 0, 3, 4, 10**11, 8, 0, 3, _M3, _M5, "dairy", None, "phone"],
    ),
    Stored(
        "category", DAIRY, OLD_FEATURES, LOG,
        ("01", "7a", "8080919fa9abad05", "06", "02900106", "0400020608", "02900180a0b787e905", "10", "02",
         "82fca0cdf20e", "8080b1988b0f", "8080b1988b0f80a0f5afb905", "00", "8280b1988b0f00",
         "94a26d35a56461697279a26d31a570686f6e65"),
        _T73H, [3, 0, 3, 5, 10**11, 8, 1, 3, _M3, _M5, "dairy", None, "phone"],
    ),
    Stored(
        "all", ALL, OLD_FEATURES, LOG[:5],
        ("01", "70", "c0929eb5d7a1ad05", "08", "0400023206", "0400020208", "023280a0b787e905", "10", "00",
         "c28eaee3a005", "02", "02c08db701", "02c08db701ffe001", "c292beaeb90500",
         "95a26d34a56bc3a47365a26d34a26d31a570686f6e65"),
        _T27H, [4, 1, 4, 5, 10**11, 8, 0, 4, _M3, _M4, "käse", -14_400, "phone"],
    ),
    Stored(
        "all", ALL, OLD_FEATURES, LOG,
        ("01", "9401", "8080919fa9abad05", "08", "045e023206", "06000204020208", "02900180a0b787e905", "10", "02",
         "82fca0cdf20e", "c2edf2e9d109", "c2edf2e9d109c08db701", "c2edf2e9d109c08db701ffe001", "8280b1988b0f00",
         "95a26d34a56bc3a47365a26d34a26d31a570686f6e65"),
        _T73H, [4, 0, 4, 6, 10**11, 8, 1, 4, _M3, _M4, "käse", -14_400, "phone"],
    ),
)  # fmt: skip

# ------------------------------------------------------------------------------------------------------------ format 2

# The first byte: 2, and 10 for milliseconds or 20 for seconds, and 80 for no texts.
_TEN_DAYS = T0 + 10 * DAY_US
FORMAT_2 = {
    "one event in the newest hop": Stored(
        "user", ADA, (count("purchase", over="24h"),), (M1,),
        ("a2", "80c0819d0b", "02"),  # seconds, no texts; 1 for a single hop of 1
        T0 + 1, [1],
    ),
    "hops": Stored(
        "user", ADA, (count("*", over="24h"), count("*", over="30d")), LOG,
        ("a2", "8092a19d0b",
         "02",  # what is beyond the window is gone
         "0e", "02", "0402", "0206"),  # 3 hops, the newest is here: 1; 2 back: 1; 1 back: 3
        T0 + 3 * DAY_US + 1, [1, 5],
    ),
    "hops, the newest of another kind": Stored(
        "user", ADA, (count("purchase", over="1h"),), (M1, M2, M3),
        ("a2", "c8f3819d0b", "04", "6e", "04"),  # 1 hop, 55 back: 2
        T0 + 1, [2],
    ),
    "nothing left in the window": Stored(
        "user", ADA, (count("purchase", over="24h"), total("*.value")), LOG,
        ("a2", "8092a19d0b", "00", "3c"),  # 0 hops; 30
        T0 + 3 * DAY_US + 1, [0, 30],
    ),
    "sums": Stored(
        "all", ALL, (count("purchase"), total("purchase.value")), LOG,
        ("a2", "8092a19d0b", "08", "80a0b787e905"),  # 4; 10^11
        T0 + 3 * DAY_US + 1, [4, 10**11],
    ),
    "zeros at the end": Stored(
        "user", ADA, (count("purchase"), count("item_view"), ever("refund")), (M1, M2),
        ("a2", "80c0819d0b", "04"),  # 2; the other two are left out
        T0 + 1, [2, 0, 0],
    ),
    "a sum of 0 at the end": Stored(
        "item", ITEM, (total("purchase.value", over="7d"),), (M1, M2),
        ("a2", "80c0819d0b", "06"),  # 1 hop, the newest is here; its sum of 0 is left out
        T0 + 1, [0],
    ),
    "times in seconds": Stored(
        "user", ADA, (age("purchase"), age("*", since="first"), age("refund")), (M1, M2, M3),
        ("a2", "c8f3819d0b", "ca33", "ca33"),  # 1 + 3300 s; the same; never
        T0 + HOUR_US + 1, [T0, T0, None],
    ),
    "times in milliseconds": Stored(
        "user", ADA, (age("purchase"),), (M4,), ("92", "c8ccfdacdb57", "02"), M4.k + 1, [_M4],
    ),
    "times in microseconds": Stored(
        "all", ALL, (age("purchase"),), (M5,), ("82", "8280e0869e9cad05", "02"), M5.k + 1, [_M5],
    ),
    "the latest values of a user": Stored(
        "user", ADA, (last("purchase.category"), last("*.utc_offset_s")), LOG,
        ("02", "3e", "8080919fa9abad05",
         "c2edf2e9d109", "c08db701",  # 1 + distance, k - e; the text is behind
         "c2edf2e9d109", "c08db701", "ffe001",  # and the number here
         "91", "a56bc3a47365"),  # käse; no message id
        _TEN_DAYS, ["käse", -14_400],
    ),
    "the first values of a user": Stored(
        "user", ADA, (first("purchase.category"), first("*.value")), LOG,
        ("02", "30", "8080919fa9abad05", "8280b1988b0f", "00", "8280b1988b0f", "00", "8d03", "91", "a56461697279"),
        _TEN_DAYS, ["dairy", -199],
    ),
    "values of a category": Stored(
        "category", DAIRY, (last("purchase.device"), first("*.value"), last("*.page")), LOG,
        ("02", "30", "8080919fa9abad05", "8280b1988b0f", "00", "8280b1988b0f", "00", "8d03",  # none is left out
         "93", "a26d31", "a570686f6e65", "a24d32"),  # m1 phone, M2: the ids decide between partitions
        _TEN_DAYS, ["phone", -199, None],
    ),
    "distinct texts in a window": Stored(
        "user", ADA, (distinct("*.item", over="7d"),), LOG,
        ("22", "12", "8092a19d0b", "06", "00", "5e", "32",  # 3: here, 47 back, 25 back
         "93", "a3692d31", "a3692d33", "a3692d32"),  # i-1 i-3 i-2
        T0 + 4 * DAY_US, [3],
    ),
    "distinct texts ever": Stored(
        "user_category", PAIR, (distinct("*.item"),), LOG,
        ("22", "0e", "8092a19d0b", "04", "00", "92", "a3692d31", "a3692d32"),  # 2: 0, and the other 0 is left out
        _TEN_DAYS, [2],
    ),
    "distinct users": Stored(
        "item", ITEM, (distinct("purchase.user", over="7d"),), LOG,
        ("22", "10", "8092a19d0b", "04", "9001", "92", "a66b312d616461", "a66b312d626f62"),  # 72 back, then 0
        T0 + 4 * DAY_US, [2],
    ),
    "recent events": Stored(
        "user", ADA, (recent(3),), LOG,
        ("02", "44", "8080919fa9abad05", "06",
         "00", "00", "04",  # each: k before the one before, k - e, which of the kinds in alphabetical order
         "80e0bbe8d109", "c08db701", "02",
         "8090d8c69e05", "808c8d9e02",  # and item_view, 0
         "93", "a3692d31", "a3692d33", "a3692d32"),
        _TEN_DAYS, [[f"refund|{T0 + 3 * DAY_US}|i-1", f"purchase|{_M4}|i-3", f"item_view|{_M3}|i-2"]],
    ),
    "recent events of some kinds": Stored(
        "user", ADA, (recent(2, events=("refund", "purchase")),), LOG,
        ("02", "2c", "8080919fa9abad05", "04", "00", "00", "02", "80e0bbe8d109", "c08db701",
         "92", "a3692d31", "a3692d33"),
        _TEN_DAYS, [[f"refund|{T0 + 3 * DAY_US}|i-1", f"purchase|{_M4}|i-3"]],
    ),
    "a mean": Stored(
        "user", ADA, (mean("purchase.properties.stars", over="30d"),), LOG,
        ("a2", "8092a19d0b", "04", "04", "0a", "04", "04", "02"),  # sum: 2 back: 5; number: 2 back: 1
        _TEN_DAYS, [5, 1],
    ),
    "a rate": Stored(
        "item", ITEM, (rate("refund", per="purchase", prior=(1, 2)),), LOG,
        ("a2", "8092a19d0b", "02", "06"), _TEN_DAYS, [1, 3],
    ),
    "an affinity": Stored(
        "user_category", PAIR, (affinity({"purchase": 10, "item_view": 1, "refund": -4}, over="30d"),), LOG,
        ("a2", "8092a19d0b", "04", "06", "04", "04", "06", "02", "02"), _TEN_DAYS, [2, 1, 1],
    ),
}  # fmt: skip
