"""The journal entry of an answer: the bytes that the log keeps of it, sealed."""

from collections.abc import Callable, Iterable
from itertools import chain, repeat
from struct import pack
from typing import Any

import msgspec

from behavior.served import ITEM, Served, Shown, encode
from deployment.journal_seal import BLANK, JournalSeal
from scoring.answer import Answer
from scoring.ranking import Ranking

try:
    from scoring.compiled_entry import write
except ImportError:  # where there is no C compiler

    def write(answer: Answer, key_id: str, seal: bytes, packed: Callable[[Any], bytes]) -> bytes:
        """The bytes of the entry; `packed` gives those of a structure within it, which msgspec does not need."""
        return encode(served(answer, key_id, seal))


_packed = msgspec.msgpack.Encoder().encode


def entry_of(answer: Answer, seal: JournalSeal | None = None) -> bytes:
    """The entry's bytes in the log; without a seal they name no key."""
    if seal is None:
        return write(answer, "", b"", _packed)
    return seal.sealed(write(answer, seal.key_id, BLANK, _packed))


def served(answer: Answer, key_id: str = "", seal: bytes = b"") -> Served:
    """The answer as the log keeps it."""
    ranked = answer.ranked
    positions = tuple(ranked.positions)
    return Served(
        request_id=answer.request_id,
        user_id=answer.user_id,
        as_of=answer.as_of,
        offset=answer.offset,
        s=answer.s,
        bundle_id=answer.bundle_id,
        learner_version=answer.learner_version,
        shown=_shown(ranked),
        placement=answer.placement,
        calibration=answer.calibration,
        persona=answer.persona,
        basis=answer.basis,
        factors=ranked.factors if ranked else (),
        values=_float64(chain.from_iterable(zip(*ranked.values, strict=True))),
        propensities=_float64(ranked.propensities),
        categories=tuple(ranked.categories) if ranked.kind == ITEM else (),
        degraded=tuple([each.reason for each in answer.degraded]),
        placements_id=answer.placements_id,
        relevance_positions=() if positions == tuple(range(1, len(positions) + 1)) else positions,
        explored=ranked.explored,
        key_id=key_id,
        seal=seal,
    )


def _shown(ranked: Ranking) -> tuple[Shown, ...]:
    columns = (ranked.ids, ranked.margins, ranked.residuals, ranked.scores, ranked.vectors)
    return tuple(map(Shown, repeat(ranked.kind), *columns))


def _float64(numbers: Iterable[float]) -> bytes:
    said = tuple(numbers)
    return pack(f"<{len(said)}d", *said)
