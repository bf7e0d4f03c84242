"""Training rows from what was really served: each vector as the model was shown it, with what came of it.

    served entries, one at a time ──▶ usable? ──▶ the answers that are kept ──▶ x as served, label from the events

The rows are what users saw, so they know no candidate that was ranked too low to be shown. Nothing is computed anew:
whether served vectors are what the events say is the parity check's to tell.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import heappop, heappush

import duckdb
import msgspec
import numpy as np

from behavior.errors import BadInput
from behavior.manifest import VOCABULARIES_FILE, Input, Manifest
from behavior.served import Served
from training.rows import Instants, Rows, open_events, outcomes, refuse_absent_kinds
from training.targets import Target

_CATEGORY = "category"
# Why an entry is left out, in the order in which it is asked.
REASONS = (
    "no category shown", "unknown bundle", "other features", "other vocabularies", "broken vector", "horizon not over",
    "repeated request", "beyond the limit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Coding:
    """What the numbers of a bundle's vectors mean: its inputs with their fingerprints, and the codes of texts.

    vocabularies    {input: texts in the order of their codes}
    """

    features: tuple[Input, ...]
    vocabularies: Mapping[str, list[str]]

    @classmethod
    def of_bundle(cls, manifest: Manifest, files: Mapping[str, bytes]) -> "Coding":
        """The coding of a bundle that was read."""
        return cls(manifest.features, msgspec.json.decode(files[VOCABULARIES_FILE], type=dict[str, list[str]]))

    @property
    def inputs(self) -> list[str]:
        """The references in the order of a vector's values."""
        return [each.ref for each in self.features]


@dataclass(frozen=True, slots=True)
class Journal:
    """Served entries to learn from.

    entries      in the order of each partition's log, so that a repeated request comes after the first
    coding       of the bundle that serves: only vectors that mean the same are used
    inputs_of    bundle id -> the bundle's coding; None for a bundle that cannot be read any more
    """

    entries: Iterable[Served]
    coding: Coding
    inputs_of: Callable[[str], Coding | None]


@dataclass(frozen=True, slots=True)
class Accounting:
    """What became of the served entries: read = used + Σ left_out; `rows` is how many rows the used ones gave."""

    read: int
    used: int
    rows: int
    left_out: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """The same as part of a sentence."""
        told = [f"{number:,} {reason}" for reason, number in self.left_out.items()]
        return f"of {self.read:,} served entries {self.used:,} are used" + (f" ({', '.join(told)})" if told else "")


@dataclass(frozen=True, slots=True, eq=False)
class JournalRows:
    """Questions that were really asked, in order of time, with x float32[m, d] as it was served."""

    rows: Rows
    x: np.ndarray
    accounting: Accounting


def journal_rows(
    con: duckdb.DuckDBPyConnection, target: Target, journal: Journal, *, until: int, max_rows: int, seed: int
) -> JournalRows:
    """The served categories whose whole horizon lies before `until` (µs), labelled as in `training.rows`.

    `con` has the archive as the view `events`. At most `max_rows` rows are held, however long it is: of more,
    whole answers are drawn evenly by a hash of their request, the same ones each time. Raises BadInput if the target is
    not about categories, the event that answers it is absent, or no entry can be used.
    """
    if target.entity != "user_category":
        raise BadInput(f"the journal holds categories that were shown, and {target.name} asks about {target.entity}")
    open_events(con, target)
    refuse_absent_kinds(con, target)
    kept, left_out = _Kept(max_rows, seed), Counter[str]()
    read = 0
    for entry in journal.entries:
        read += 1
        answer = _answer(entry, journal, until - target.horizon_us)
        if isinstance(answer, str):
            left_out[answer] += 1
        else:
            left_out.update(kept.add(entry.request_id, answer))
    answers = kept.in_order()
    rows = sum(len(each.categories) for each in answers)
    told = {reason: left_out[reason] for reason in REASONS if left_out[reason]}
    accounting = Accounting(read, len(answers), rows, told)
    if not answers:
        raise BadInput(
            f"the journal has nothing to learn {target.name} from: {accounting}; let the archiver run while answers "
            "are given, or train on the tables"
        )
    return JournalRows(_labelled(con, target, answers), _as_served(answers, len(journal.coding.features)), accounting)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is kept of an entry: the categories that were shown, and their vectors' bytes one after the other."""

    user_id: str
    as_of: int
    categories: tuple[str, ...]
    vectors: bytes


def _answer(entry: Served, journal: Journal, last: int) -> _Answer | str:
    """What an entry says if it can be used, else the reason why it cannot; it must be of `last` (µs) or before."""
    shown = [each for each in entry.shown if each.kind == _CATEGORY]
    if not shown:
        return "no category shown"
    coding, wanted = journal.inputs_of(entry.bundle_id), journal.coding
    if coding is None:
        return "unknown bundle"
    if coding.features != wanted.features:
        return "other features"
    # The same code would be another text, and the numbers alone do not tell.
    if coding.vocabularies != wanted.vocabularies:
        return "other vocabularies"
    if any(len(each.vector) != 4 * len(wanted.features) for each in shown):
        return "broken vector"
    if entry.as_of > last:
        return "horizon not over"
    return _Answer(
        entry.user_id, entry.as_of, tuple(each.id for each in shown), b"".join(each.vector for each in shown)
    )


class _Kept:
    """The answers with the smallest draws, of at most so many rows together.

    A draw is a hash of user and request: a repeated request has the same one, so it is either found beside the first
    or lies beyond the limit with it, and nothing has to be remembered of what was let go.
    """

    def __init__(self, most: int, seed: int) -> None:
        self._most = most
        self._key = seed.to_bytes(8, "little")
        self._answers: dict[tuple[bytes, str, str], _Answer] = {}
        # The largest draw first.
        self._order: list[tuple[int, str, str]] = []
        self._limit: int | None = None
        self._rows = 0

    def add(self, request_id: str, answer: _Answer) -> list[str]:
        """Take an answer; the reasons why this or others are left out now, one for each."""
        said = msgspec.json.encode((answer.user_id, request_id))
        draw = blake2b(said, digest_size=8, key=self._key).digest()
        key, value = (draw, answer.user_id, request_id), int.from_bytes(draw, "big")
        if key in self._answers:
            return ["repeated request"]
        if self._limit is not None and value >= self._limit:
            return ["beyond the limit"]
        self._answers[key] = answer
        self._rows += len(answer.categories)
        heappush(self._order, (-value, answer.user_id, request_id))
        gone = 0
        while self._rows > self._most:
            negative, user_id, request = heappop(self._order)
            self._limit = -negative
            dropped = self._answers.pop((self._limit.to_bytes(8, "big"), user_id, request))
            self._rows -= len(dropped.categories)
            gone += 1
        return ["beyond the limit"] * gone

    def in_order(self) -> list[_Answer]:
        """The answers by (instant, user, request)."""
        return [self._answers[key] for key in sorted(self._answers, key=lambda k: (self._answers[k].as_of, k[1], k[2]))]


def _labelled(con: duckdb.DuckDBPyConnection, target: Target, answers: Sequence[_Answer]) -> Rows:
    """One row per category shown, answer after answer, in the order of positions."""
    users = sorted({each.user_id for each in answers})
    categories = sorted({category for each in answers for category in each.categories})
    user = {name: place for place, name in enumerate(users)}
    code = {name: place for place, name in enumerate(categories)}
    t = np.array([each.as_of for each in answers], dtype=np.int64)
    instants = Instants(np.array([user[each.user_id] for each in answers], dtype=np.int32), t, t, users)
    sizes = [len(each.categories) for each in answers]
    instant = np.repeat(np.arange(len(answers), dtype=np.int32), sizes)
    category = np.array([code[name] for each in answers for name in each.categories], dtype=np.int32)
    came_true = outcomes(con, target, instants, code)
    label = np.isin(instant.astype(np.int64) * len(categories) + category, came_true).astype(np.uint8)
    return Rows(instants, instant, category, categories, label, np.ones(len(label), dtype=np.float32))


def _as_served(answers: Sequence[_Answer], width: int) -> np.ndarray:
    """float32[m, d], bit for bit the bytes of the journal."""
    x = np.empty((sum(len(each.categories) for each in answers), width), dtype=np.float32)
    start = 0
    for each in answers:
        end = start + len(each.categories)
        x[start:end] = np.frombuffer(each.vectors, dtype="<f4").reshape(-1, width)
        start = end
    return x
