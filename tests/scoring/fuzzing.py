"""Requests that nobody would send, and some that somebody would: structured ones from a seed, and raw bytes.

Structured requests are drawn field by field over the proto: a valid value most of the time, a broken one now and then.
Raw ones are noise, or structured ones with bytes flipped, cut or repeated.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scoring.v1 import scoring_pb2 as wire
from tests.scoring.small import CATEGORIES, START

MAX_INT64, MIN_INT64 = 2**63 - 1, -(2**63)
_TEXTS = ("", "a", "x" * 256, "x" * 257, "x" * 70_000, "\x00", "\x7f\n", "ÿ" * 128, "日本語", "\U0001f600" * 65,
          "../..", "' OR 1=1", "{}", "%s%n", "None", "k1-" + "0" * 32)  # fmt: skip
_ZONES = ("UTC", "America/New_York", "Asia/Tokyo", "Pacific/Apia")
_BAD_ZONES = ("", "Mars/Olympus", "../../etc/passwd", "America", "A" * 5000, "\x00", "/etc/localtime")
_NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 10_000)
_BIG = (0, 1, -1, MAX_INT64, MIN_INT64, 10**11, 10**11 + 1)
_FLOATS = (0.0, -0.0, 1.5, float("nan"), float("inf"), -float("inf"), 5e-324, 1.7e308)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One request: its method, its bytes, and whether it was drawn as a structured one."""

    method: str
    data: bytes
    structured: bool


class Fuzz:
    """Draws requests from a seed; `broken` is the chance of a field to be broken."""

    def __init__(self, seed: int, broken: float = 0.03) -> None:
        self._random = random.Random(seed)
        self._broken = broken

    def draw(self) -> Drawn:
        """The next request: two of three are structured."""
        method: str = self._random.choice(("Score", "Score", "Track"))
        message = self.score() if method == "Score" else self.track()
        data = message.SerializeToString()
        if self._random.random() < 2 / 3:
            return Drawn(method, data, structured=True)
        return Drawn(method, self._torn(data), structured=False)

    def score(self) -> wire.ScoreRequest:
        """A ScoreRequest."""
        request = wire.ScoreRequest(
            placement=self._one(lambda: self._of("", "", "home", "basket"), self._text),
            top_k=self._one(lambda: self._random.randint(0, 20), lambda: self._of(*_NUMBERS)),
            explain=self._random.random() < 0.2,
        )
        if not self._breaks():
            setattr(
                request,
                self._of("user_id", "anonymous_id"),
                self._one(lambda: f"household {self._random.randrange(200)}", self._text),
            )
        for _ in range(self._one(lambda: self._random.randint(0, 30), lambda: self._of(0, 1000, 1001, 3000))):
            request.candidates.add(
                kind=wire.CANDIDATE_KIND_CATEGORY, id=f"{self._of(*CATEGORIES)} {len(request.candidates)}"
            )
        if self._breaks():
            request.candidates.add(kind=self._of(0, 1, 2, 3, -1, 77), id=self._text())
        if self._random.random() < 0.5:
            self._place(request.moment)
            request.moment.device = self._one(lambda: self._of("", "phone"), self._text)
            request.moment.page = self._one(lambda: self._of("", "/basket"), self._text)
        return request

    def track(self) -> wire.TrackRequest:
        """A TrackRequest; each of its events is judged by itself, so that even a broken one is answered OK."""
        request = wire.TrackRequest()
        for _ in range(self._one(lambda: self._random.randint(0, 5), lambda: self._of(0, 200, 1001))):
            self._event(request.events.add())
        return request

    def _event(self, event: wire.Event) -> None:
        texts = ("item", "order_id", "session_id", "request_id", "placement", "device", "page", "source")
        event.message_id = self._one(lambda: f"m{self._random.randrange(2000)}", self._text)
        event.kind = self._one(lambda: self._of("purchase", "item_view", "impression"), self._text)
        event.user_id = self._one(lambda: f"household {self._random.randrange(200)}", self._text)
        event.category = self._one(lambda: self._of(*CATEGORIES), self._text)
        event.event_time.seconds = self._one(lambda: START // 1_000_000 - 5, lambda: self._of(*_BIG))
        event.event_time.nanos = self._one(lambda: 0, lambda: self._of(*_NUMBERS))
        event.consent.extend([self._one(lambda: 1, lambda: self._of(0, 3, 99, -1))])
        for name in texts:
            if self._breaks():
                setattr(event, name, self._text())
        if self._breaks():
            event.value_minor, event.quantity = self._of(*_BIG), self._of(*_BIG)
        if self._breaks():
            event.properties[self._text()].number = self._of(*_FLOATS)
            event.properties["rating"].number = self._of(*_FLOATS)
        self._place(event)

    def _place(self, moment: Any) -> None:
        drawn = self._random.random()
        if drawn < 0.3:
            moment.utc_offset_s = self._one(lambda: self._random.randint(-64_800, 64_800), lambda: self._of(*_NUMBERS))
        elif drawn < 0.6:
            moment.zone = self._one(lambda: self._of(*_ZONES), lambda: self._of(*_BAD_ZONES))

    def _torn(self, data: bytes) -> bytes:
        torn = bytearray(data)
        kind = self._random.randrange(5)
        if kind == 0 or not torn:
            return self._random.randbytes(self._random.randrange(400))
        if kind == 1:
            for _ in range(self._random.randint(1, 8)):
                torn[self._random.randrange(len(torn))] ^= 1 << self._random.randrange(8)
        elif kind == 2:
            del torn[self._random.randrange(len(torn)) :]
        elif kind == 3:
            torn *= self._random.randint(2, 4)
        else:
            torn[self._random.randrange(len(torn)) :] = b"\x0a" + b"\xff" * 9 + b"\x01"  # a length without its bytes
        return bytes(torn)

    def _breaks(self) -> bool:
        return self._random.random() < self._broken

    def _one(self, valid: Callable[[], Any], broken: Callable[[], Any]) -> Any:
        return broken() if self._breaks() else valid()

    def _of(self, *values: Any) -> Any:
        return self._random.choice(values)

    def _text(self) -> str:
        return str(self._of(*_TEXTS))
