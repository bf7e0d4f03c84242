"""Golden bytes of all else that is stored: events and served entries in the log, deltas, rows of the snapshot.

They are read by processes of other versions, and found again after years in logs and backups.
"""

import hmac
from hashlib import blake2b

import msgspec
import numpy as np

from behavior import event, served
from behavior.column import Column
from behavior.plan import FeatureDefinition, Plan, View, ViewDefinition
from behavior.raw_rows import RawRows
from behavior.readout import readout
from behavior.snapshot_rows import pack_rows, unpack_rows
from behavior.state import encode
from behavior.words import count, distinct, last
from deployment.journal_seal import BLANK, JournalSeal
from deployment.sealing import Sealing
from deployment.user_state import state_field
from scoring.deltas import decode_deltas
from scoring.partition_states import PartitionStates
from tests.golden.log import LOG, T0
from tests.properties.answers import folded, of_entity, plain

EVENT = event.Event(
    "m-1", "purchase", "k1-ada", 1_506_816_000_000_000, anonymous_id="k1-x", item="i-1", category="käse", value=-199,
    currency="EUR", quantity=2, order_id="o-1", session_id="s-1", request_id="r-1", placement="home",
    utc_offset_s=7200, device="phone", page="/", source="mail", properties={"stars": 5, "colour": "red"}, purposes=3,
)  # fmt: skip
# A map of 20: each part's name and value.
EVENT_BYTES = (
    "de0014"
    "aa6d6573736167655f6964" "a36d2d31"  # message_id m-1
    "a46b696e64" "a87075726368617365"  # kind purchase
    "a7757365725f6964" "a66b312d616461"  # user_id k1-ada
    "ab636c69656e745f74696d65" "cf00055a70f06c0000"  # client_time
    "ac616e6f6e796d6f75735f6964" "a46b312d78"  # anonymous_id k1-x
    "a46974656d" "a3692d31"  # item i-1
    "a863617465676f7279" "a56bc3a47365"  # category käse
    "a576616c7565" "d1ff39"  # value -199
    "a863757272656e6379" "a3455552"  # currency EUR
    "a87175616e74697479" "02"  # quantity 2
    "a86f726465725f6964" "a36f2d31"  # order_id o-1
    "aa73657373696f6e5f6964" "a3732d31"  # session_id s-1
    "aa726571756573745f6964" "a3722d31"  # request_id r-1
    "a9706c6163656d656e74" "a4686f6d65"  # placement home
    "ac7574635f6f66667365745f73" "cd1c20"  # utc_offset_s 7200
    "a6646576696365" "a570686f6e65"  # device phone
    "a470616765" "a12f"  # page /
    "a6736f75726365" "a46d61696c"  # source mail
    "aa70726f70657274696573" "82" "a57374617273" "05" "a6636f6c6f7572" "a3726564"  # properties stars 5, colour red
    "a8707572706f736573" "03"  # purposes 3
)  # fmt: skip

SERVED = served.Served(
    "r-1", "k1-ada", as_of=1_506_816_000_000_001, offset=1_506_816_000_000_000, s=1_506_815_940_000_000,
    bundle_id="b-1", learner_version=7, placement="home",
    shown=(served.Shown("item", "i-1", -1.5, 0.25, 0.125, np.array([1.5, np.nan], "<f4").tobytes()),),
)  # fmt: skip
SERVED_BYTES = (
    "89"
    "aa726571756573745f6964" "a3722d31"  # request_id r-1
    "a7757365725f6964" "a66b312d616461"  # user_id k1-ada
    "a561735f6f66" "cf00055a70f06c0001"  # as_of
    "a66f6666736574" "cf00055a70f06c0000"  # offset
    "a173" "cf00055a70ecd87900"  # s
    "a962756e646c655f6964" "a3622d31"  # bundle_id b-1
    "af6c6561726e65725f76657273696f6e" "07"  # learner_version 7
    "a573686f776e" "91" "96" "a46974656d" "a3692d31"  # shown: item i-1,
    "cbbff8000000000000" "cb3fd0000000000000" "cb3fc0000000000000"  # margin, residual, score,
    "c408" "0000c03f" "0000c07f"  # vector: 1.5, NaN
    "a9706c6163656d656e74" "a4686f6d65"  # placement home
)  # fmt: skip

FEATURES = (count("purchase"), last("*.device"), distinct("*.user", over="7d"))
PLAN = Plan(
    ViewDefinition(
        f"by_{entity}", entity, ("item_view", "purchase", "refund"),
        tuple(FeatureDefinition(spec.name, spec) for spec in FEATURES),
    )
    for entity in ("item", "all")
)  # fmt: skip


def test_events_stand_in_the_log_as_they_did() -> None:
    """Every part by its name, what is not said left out; and they are read back."""
    assert event.encode(EVENT).hex() == EVENT_BYTES
    assert event.decode(bytes.fromhex(EVENT_BYTES)) == EVENT
    assert set(event.Event.__struct_fields__) == {
        name for name in event.Event.__struct_fields__ if getattr(EVENT, name) not in (None, {}, 0)
    }


def test_what_older_and_newer_versions_say_is_read() -> None:
    """A part that is not there has its default, one that is not known is left aside: versions can be mixed."""
    least = "aa6d6573736167655f6964a26d32a46b696e64a170a7757365725f6964a175ab636c69656e745f74696d6505"
    assert event.encode(event.Event("m2", "p", "u", 5)).hex() == "de0004" + least
    something = "a9736f6d657468696e67c3"
    assert event.decode(bytes.fromhex("de0005" + least + something)) == event.Event("m2", "p", "u", 5)


def test_served_entries_stand_in_the_log_as_they_did() -> None:
    """The learner and the parity check read what was shown long ago, the vector bit for bit."""
    # A map of 9 in three bytes, where it was one before there were more than 15 parts.
    assert served.encode(SERVED).hex() == "de0009" + SERVED_BYTES.removeprefix("89")
    assert served.decode(bytes.fromhex(SERVED_BYTES)) == SERVED
    assert (served.EVENT_ENTRY, served.SERVED_ENTRY) == (b"e", b"s")


def test_a_persona_stands_behind_what_entries_had_before() -> None:
    """An entry of before personas has none, one of now has its name at the end."""
    assert served.decode(bytes.fromhex(SERVED_BYTES)).persona == ""
    named = msgspec.structs.replace(SERVED, persona="Loyal")
    # A map of 10 instead of 9: persona Loyal.
    assert served.encode(named).hex() == "de000a" + SERVED_BYTES.removeprefix("89") + "a7706572736f6e61a54c6f79616c"
    assert served.decode(served.encode(named)) == named


def test_what_an_answer_was_made_from_stands_behind_the_persona() -> None:
    """Raw values view by view, factors, propensities, categories, what was degraded; and the seal at the very end."""
    basis = served.Basis(
        7200,
        "p1",
        (RawRows("u", np.array([[3, 4]], "<i8").tobytes(), (("TEA", None),)),),
        "p2",
        "popular",
        "phone",
        "/",
    )
    entry = msgspec.structs.replace(
        SERVED, basis=basis, factors=(("propensity", 1.0),), values=np.array([0.5]).tobytes(),
        propensities=np.array([0.25]).tobytes(), categories=("dairy",), degraded=("unknown_user",),
        key_id="s1", seal=b"0123456789abcdef",
    )  # fmt: skip
    assert served.encode(entry).hex() == (
        "de0011" + SERVED_BYTES.removeprefix("89")
        + "a56261736973" "87"  # basis, a map of 7:
        "ac7574635f6f66667365745f73" "cd1c20"  # utc_offset_s 7200
        "a4706c616e" "a27031"  # plan p1
        "a472617773" "91" "93" "a175"  # raws of one view, u:
        "c410" "0300000000000000" "0400000000000000"  # seen_e and one number,
        "91" "92" "a3544541" "c0"  # one row of two texts, TEA and nothing
        "ad736e617073686f745f706c616e" "a27032"  # snapshot_plan p2
        "af63616e646964617465735f66726f6d" "a7706f70756c6172"  # candidates_from popular
        "a6646576696365" "a570686f6e65" "a470616765" "a12f"  # device phone, page /
        "a7666163746f7273" "91" "92" "aa70726f70656e73697479" "cb3ff0000000000000"  # factors: propensity × 1
        "a676616c756573" "c408" "000000000000e03f"  # values 0.5
        "ac70726f70656e736974696573" "c408" "000000000000d03f"  # propensities 0.25
        "aa63617465676f72696573" "91" "a56461697279"  # categories dairy
        "a86465677261646564" "91" "ac756e6b6e6f776e5f75736572"  # degraded unknown_user
        "a66b65795f6964" "a27331"  # key_id s1
        "a47365616c" "c410" "30313233343536373839616263646566"  # seal
    )  # fmt: skip
    assert served.decode(served.encode(entry)) == entry


def test_how_an_order_was_drawn_stands_before_the_seal() -> None:
    """Policy, strength, chances, pool and the values of its factors; categories of items, rates of Thompson."""
    explored = served.Explored(
        "thompson", 0.0, np.array([0.5]).tobytes(), ("i-1", "i-2"), np.array([1.0, 2.0]).tobytes(), ("dairy", ""),
        is_exact=False, rates=np.array([0.25]).tobytes(),
    )  # fmt: skip
    entry = msgspec.structs.replace(SERVED, explored=explored, key_id="s1")
    assert served.encode(entry).hex() == (
        "de000b" + SERVED_BYTES.removeprefix("89")
        + "a86578706c6f726564" "88"  # explored, a map of 8:
        "a6706f6c696379" "a874686f6d70736f6e"  # policy thompson
        "a8737472656e677468" "cb0000000000000000"  # strength 0
        "a76368616e636573" "c408" "000000000000e03f"  # chances 0.5
        "a4706f6f6c" "92" "a3692d31" "a3692d32"  # pool i-1, i-2
        "a676616c756573" "c410" "000000000000f03f" "0000000000000040"  # values 1, 2
        "aa63617465676f72696573" "92" "a56461697279" "a0"  # categories dairy, none
        "a869735f6578616374" "c2"  # is_exact false
        "a57261746573" "c408" "000000000000d03f"  # rates 0.25
        "a66b65795f6964" "a27331"  # key_id s1
    )  # fmt: skip
    assert served.decode(served.encode(entry)) == entry


def test_seals_are_made_as_they_were() -> None:
    """BLAKE2b of 16 bytes over all before, with a key made from the sealing key: entries of years ago are checked."""
    seal = JournalSeal(Sealing("s1", bytes(range(32))))
    sealed = seal.sealed(served.encode(msgspec.structs.replace(SERVED, key_id=seal.key_id, seal=BLANK)))
    key = hmac.digest(bytes(range(32)), b"opportune journal 1\0", "sha256")
    assert sealed[-16:] == blake2b(sealed[:-16], digest_size=16, key=key).digest()
    assert sealed[:-16].hex().endswith("a66b65795f6964a27331a47365616cc410")
    assert sealed[-16:].hex() == "5a79d5f779113d17b374c728b4a8fa78"


def test_deltas_stand_as_they_did() -> None:
    """`<interval's end>|<view's letter><entity>`, the admission of the first event, the state as it lies in memory."""
    states = PartitionStates(PLAN)
    for each in LOG:
        states.add(each)
    deltas = states.encoded_deltas()
    assert sorted(deltas) == [
        b"1506816060000000|ai-1", b"1506816060000000|ball",
        b"1506819660000000|ai-2", b"1506819660000000|ball",
        b"1506909660000000|ai-1", b"1506909660000000|ai-3", b"1506909660000000|ball",
        b"1507075260000000|ai-1", b"1507075260000000|ball",
    ]  # fmt: skip
    assert deltas[b"1506816060000000|ai-1"].hex() == (
        "94" "01" "cf00055a70f06c0000" "cf00055a70f06c0000" "93"  # format 1, first_k, seen_e, three slots:
        "02"  # 2 purchases
        "94" "cf00055a70f06c0000" "cf00055a70f06c0000" "a26d31" "a570686f6e65"  # the device: e, k, m1, phone
        "81" "a66b312d616461" "ce00066300"  # 1 user, k1-ada, and its last hop
    )  # fmt: skip
    decoded = decode_deltas(PLAN, deltas)
    assert {place: delta.first_k for place, delta in decoded.items() if place[1] == b"ball"} == {
        (1_506_816_060_000_000, b"ball"): T0,
        (1_506_819_660_000_000, b"ball"): LOG[2].k,
        (1_506_909_660_000_000, b"ball"): LOG[3].k,
        (1_507_075_260_000_000, b"ball"): LOG[5].k,
    }


def test_rows_of_the_snapshot_stand_as_they_did() -> None:
    """`seen_e` and each number as int64, little-endian, the least one for nothing; then the texts."""
    view = PLAN.view("by_item")
    stored = [encode(view, state) for item in ("i-1", "i-2") if (state := folded(view, of_entity(view, LOG, (item,))))]
    found = readout(view, stored, np.full(2, LOG[-1].k + 1))
    rows = pack_rows(view, found.raw, found.seen_e)
    assert [row.hex() for row in rows] == [
        "0020f249ad5a0500" "0300000000000000" "0200000000000000" "91" "a570686f6e65",  # 3 purchases, 2 users, phone
        "00011eb5715a0500" "0000000000000000" "0100000000000000" "91" "c0",  # no purchase, 1 user, no device
    ]  # fmt: skip
    raw, seen_e = unpack_rows(view, [*rows, None])
    said = [[plain(each, row) for each in raw.values()] for row in range(3)]
    assert said == [[3, "phone", 2], [0, None, 1], [None, None, None]]
    assert [plain(seen_e, row) for row in range(3)] == [LOG[5].e, LOG[2].e, None]


def test_nothing_is_the_least_number() -> None:
    """Which no value can be."""
    view = View(ViewDefinition("v", "all", ("purchase",), (FeatureDefinition("n", count("purchase")),)))
    nothing = Column.of([None], "int64")
    assert pack_rows(view, {"n": nothing}, nothing)[0].hex() == "0000000000000080" * 2


def test_fields_of_states_are_named_as_they_were() -> None:
    """A letter for the view, then the category (or item, or `all`) as UTF-8."""
    people, pairs = PLAN.view("by_item"), PLAN.view("by_all")
    assert state_field(people) == b"a"
    assert state_field(pairs, "käse|2") == b"bk\xc3\xa4se|2"
