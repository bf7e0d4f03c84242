"""What was really shown to a user: the served entry, in the user's own partition of the log.

It stands in the same stream as the events, marked by its type and outside the accounting identity: the learner's and
the parity check's lossless source.
"""

import msgspec
import numpy as np

from behavior.calibration import Calibration

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


class Served(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer.

    as_of        the instant that the state answered for, µs UTC
    offset       how far the user's partition was folded into that state
    s            the instant of the snapshot that category and `all` values came from
    shown        in the order of positions, best first
    calibration  of the bundle, None if it has none
    persona      the name of the user's persona then, empty where there were none
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
