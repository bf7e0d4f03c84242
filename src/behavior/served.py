"""What was really shown to a user: the served entry, in the user's own partition of the log.

It stands in the same stream as the events, marked by its type and outside the accounting identity: the learner's and
the parity check's lossless source.
"""

import msgspec
import numpy as np

from behavior.calibration import Calibration
from behavior.raw_rows import RawRows

# The types of log entries, in the field `t` of a stream entry; the payload is in the field `b`.
EVENT_ENTRY = b"e"
SERVED_ENTRY = b"s"
# The kinds of things that are shown.
CATEGORY = "category"
ITEM = "item"


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """One candidate as it was shown.

    margin    the model's raw margin (logit)
    residual  the learner's bounded addend, in the same space
    score     the relevance that it was ranked by
    vector    the model's float32 row, little-endian bytes
    """

    kind: str
    id: str
    margin: float
    residual: float
    score: float
    vector: bytes


class Explored(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the order of an answer was drawn.

    policy      `epsilon-greedy`, `plackett-luce` or `thompson`
    strength    epsilon, or the temperature in logits; 0 of Thompson
    chances     float64[m] little-endian: of each shown position, the probability that what stands there was drawn,
                given what stands before it
    pool        ids of the p candidates that were drawn from, the best first by score
    categories  of the pool's items; empty where categories were
    values      float64[p, f] little-endian: the value of each factor of `Served.factors` for each of the pool
    is_exact    whether the chances are exact: Thompson's are estimated, and no evaluation takes them
    rates       float64[p, 2] little-endian, of Thompson: what Beta distributions the rates were drawn from
    """

    policy: str
    strength: float
    chances: bytes
    pool: tuple[str, ...]
    values: bytes
    categories: tuple[str, ...] = ()
    is_exact: bool = True
    rates: bytes = b""


class Basis(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an answer was made from, beside the bundle: with it and the bundle it can be made again.

    utc_offset_s     of the user at as_of, seconds east of Greenwich, however it was found
    plan             fingerprint of the plan that the user's states were read under
    snapshot_plan    of the snapshot's, where it was another
    candidates_from  where the candidates came from
    raws             the raw values of every view that was read
    """

    utc_offset_s: int
    plan: str
    raws: tuple[RawRows, ...]
    snapshot_plan: str = ""
    candidates_from: str = ""
    device: str = ""
    page: str = ""


class Served(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer.

    as_of        the instant that the state answered for, µs UTC
    offset       how far the user's partition was folded into that state
    s            the instant of the snapshot that category and `all` values came from
    shown        in the order of positions, best first
    calibration  of the bundle, None if it has none
    persona      the name of the user's persona then, empty where there were none
    basis        what it was made from; None of entries of older versions, which cannot be made again
    factors      (name, weight) of the addends of the scores, in the order in which they are added
    values       float64[m, f] little-endian: the value of each factor for each shown candidate
    propensities float64[m] little-endian, of the target that the bundle predicts
    categories   of items that were shown, the category of each; empty where categories were
    degraded     why the answer was not what it should be, by reason
    placements_id  of the placements that said the weights, empty where no file did
    relevance_positions  of each that was shown its position by score alone; empty where it is the one it has
    explored     how the order was drawn; None where it is that of the scores, or mixed
    key_id       of the key that it is sealed with; `seal` is what the key makes of all bytes before
    """

    request_id: str
    user_id: str
    as_of: int
    offset: int
    s: int
    bundle_id: str
    learner_version: int
    shown: tuple[Shown, ...]
    placement: str | None = None
    calibration: Calibration | None = None
    persona: str = ""
    basis: Basis | None = None
    factors: tuple[tuple[str, float], ...] = ()
    values: bytes = b""
    propensities: bytes = b""
    categories: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    placements_id: str = ""
    relevance_positions: tuple[int, ...] = ()
    explored: Explored | None = None
    key_id: str = ""
    # The last one, so that the seal is the last bytes of the entry.
    seal: bytes = b""

    def believed(self, shown: Shown) -> float:
        """The margin that the score was made from, calibrated if there was a calibration: what corrections add to."""
        if self.calibration is None:
            return shown.margin
        return float(self.calibration.margins(np.array([shown.margin]))[0])


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Served)


def encode(served: Served) -> bytes:
    """The entry's bytes in the log."""
    return _encoder.encode(served)


def decode(data: bytes) -> Served:
    """The entry that `encode` wrote."""
    return _decoder.decode(data)
