"""How much more than elsewhere a category is wanted at a part of the day, on a weekday, by a persona: log lifts.

Pure: training counts events and writes the tables into the bundle; the factors of a request and the evaluation of a
bundle read them through the same three methods.

    n   events of the category in the context        E   what it would be if the two had nothing to do with each other:
    lift = log((n + PRIOR) / (E + PRIOR))                all of the category x all of the context / all

(n + PRIOR) / (E + PRIOR) is the posterior mean of a Poisson rate relative to E under a gamma prior with mean 1 (Clayton
and Kaldor, "Empirical Bayes estimates of age-standardized relative risks", Biometrics 43, 1987): what was seldom seen
stays near 1, its logarithm near 0. Where an outcome is rare, the logarithm of a ratio of rates is the difference of
their logits, and that is what is added to a margin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np

from behavior.errors import BundleRefused
from behavior.manifest import CONTEXT_FILE, Span
from behavior.moment import Moment
from behavior.places import places_in

FORMAT = 1
WEEKDAYS = 7
# So many events more, of which so many were expected: a category and a context that met ten times say little.
PRIOR = 20.0
# No context makes a category more than e^2 = 7.4 times as likely, or less.
BOUND = 2.0
# What lies beyond is noise of the arithmetic; rounded, the file is the same on every machine.
_DECIMALS = 6
_HOURS = 24


class Daypart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the local day: from its first hour to that of the next one."""

    name: str
    first_hour: int


DAYPARTS = (Daypart("night", 0), Daypart("morning", 6), Daypart("afternoon", 12), Daypart("evening", 18))


class ContextTables(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Log lifts by category; 0 for whatever category or persona they do not know.

    counted       the span of the events that they were made from
    dayparts      the parts of the day, the first from hour 0
    categories    the rows of the tables
    daypart       one number per category and part of the day
    weekday       one number per category and day, Monday first
    personas_id   the personas that `persona` was made with; empty without any
    personas      their names, by which a request finds its column whatever the personas of its day are called by id
    persona       one number per category and persona
    """

    format: int = FORMAT
    counted: Span
    dayparts: tuple[Daypart, ...]
    categories: tuple[str, ...]
    daypart: tuple[tuple[float, ...], ...]
    weekday: tuple[tuple[float, ...], ...]
    personas_id: str = ""
    personas: tuple[str, ...] = ()
    persona: tuple[tuple[float, ...], ...]

    @cached_property
    def arrays(self) -> "Arrays":
        """The numbers as arrays, made once."""
        return Arrays(self)

    def daypart_fit(self, categories: Sequence[str], moment: Moment) -> np.ndarray:
        """The lift of each category at the moment's local part of the day, float64[n]; the moment has n rows or one."""
        arrays = self.arrays
        fit: np.ndarray = arrays.daypart[arrays.rows(categories), arrays.part_of_hour[moment.hour]]
        return fit

    def weekday_fit(self, categories: Sequence[str], moment: Moment) -> np.ndarray:
        """The lift of each category on the moment's local weekday, float64[n]; the moment has n rows or one."""
        arrays = self.arrays
        fit: np.ndarray = arrays.weekday[arrays.rows(categories), moment.weekday]
        return fit

    def persona_prior(self, categories: Sequence[str], personas: Sequence[str]) -> np.ndarray:
        """The lift of each category among users of the persona, float64[n]; n names of personas, or one."""
        arrays = self.arrays
        prior: np.ndarray = arrays.persona[arrays.rows(categories), arrays.columns(personas)]
        return prior


class Arrays:
    """Tables as float64 arrays: one row more than categories, and one column more than personas, of zeros."""

    __slots__ = ("_columns", "_rows", "daypart", "part_of_hour", "persona", "weekday")

    def __init__(self, tables: ContextTables) -> None:
        k = len(tables.categories)
        self._rows = {name: place for place, name in enumerate(tables.categories)}
        self._columns = {name: place for place, name in enumerate(tables.personas)}
        self.daypart = np.zeros((k + 1, len(tables.dayparts)))
        self.weekday = np.zeros((k + 1, WEEKDAYS))
        self.persona = np.zeros((k + 1, len(tables.personas) + 1))
        if k:
            self.daypart[:k] = tables.daypart
            self.weekday[:k] = tables.weekday
            self.persona[:k, :-1] = tables.persona
        self.part_of_hour = part_of_hour(tables.dayparts)

    def rows(self, categories: Sequence[str]) -> np.ndarray:
        """The row of each category, intp[n]."""
        return places_in(self._rows, categories)

    def columns(self, personas: Sequence[str]) -> np.ndarray:
        """The column of each persona, intp[n]."""
        return places_in(self._columns, personas)


def part_of_hour(dayparts: Sequence[Daypart] = DAYPARTS) -> np.ndarray:
    """The place of the daypart that each hour of the day belongs to, int64[24].

    >>> part_of_hour()[[0, 5, 6, 23]].tolist()
    [0, 0, 1, 3]
    """
    return np.searchsorted([each.first_hour for each in dayparts], np.arange(_HOURS), side="right") - 1


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """What was counted, of k categories.

    hour, weekday   int64[k, 24] and int64[k, 7], events by local hour and day
    personas        names; persona int64[k, p] is of events after instants at which the user had that persona
    """

    categories: Sequence[str]
    hour: np.ndarray
    weekday: np.ndarray
    personas: Sequence[str]
    persona: np.ndarray


def tables_of(counts: Counts, counted: Span, personas_id: str = "") -> ContextTables:
    """The tables of what was counted."""
    parts = part_of_hour()
    daypart = np.stack([counts.hour[:, parts == place].sum(axis=1) for place in range(len(DAYPARTS))], axis=1)
    return ContextTables(
        counted=counted,
        dayparts=DAYPARTS,
        categories=tuple(counts.categories),
        daypart=_rounded(lifts(daypart)),
        weekday=_rounded(lifts(counts.weekday)),
        personas_id=personas_id,
        personas=tuple(counts.personas),
        persona=_rounded(lifts(counts.persona)),
    )


def lifts(counts: np.ndarray) -> np.ndarray:
    """Log lifts of counts [k, w], float64[k, w] within ±BOUND; 0 of what was never seen.

    >>> lifts(np.array([[100, 100], [300, 300]])).tolist()  # the two have nothing to do with each other
    [[0.0, 0.0], [0.0, 0.0]]
    >>> lifts(np.array([[30, 0], [0, 30]])).round(3).tolist()
    [[0.357, -0.56], [-0.56, 0.357]]
    """
    n = counts.astype(np.float64)
    expected = n.sum(axis=1, keepdims=True) * n.sum(axis=0, keepdims=True) / max(float(n.sum()), 1.0)
    lift: np.ndarray = np.clip(np.log((n + PRIOR) / (expected + PRIOR)), -BOUND, BOUND)
    return lift


def encode(tables: ContextTables) -> bytes:
    """The file of a bundle; equal tables have equal bytes."""
    return msgspec.json.encode(tables) + b"\n"


def decode(data: bytes, where: str) -> ContextTables:
    """The tables of a bundle's file; `where` names the bundle.

    Raises BundleRefused if it is none, is of another format, or has numbers that cannot be added to a margin.
    """
    try:
        tables = msgspec.json.decode(data, type=ContextTables)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleRefused(f"{where}: {CONTEXT_FILE} cannot be read ({error}); train again") from None
    if tables.format != FORMAT:
        raise BundleRefused(
            f"{where}: {CONTEXT_FILE} has format {tables.format}, not {FORMAT}; train with this version"
        )
    wrong = _unsound(tables)
    if wrong:
        raise BundleRefused(f"{where}: {CONTEXT_FILE} {wrong}; train again")
    return tables


def _unsound(tables: ContextTables) -> str:
    """What is wrong with the tables; empty if nothing is."""
    hours = [each.first_hour for each in tables.dayparts]
    if hours[:1] != [0] or hours != sorted(set(hours)) or hours[-1] >= _HOURS:
        return f"has parts of the day that begin at the hours {hours}, which do not cover a day in order"
    for name, texts in (("categories", tables.categories), ("personas", tables.personas)):
        if len(set(texts)) != len(texts):
            return f"has {name} that are there twice"
    widths = {"daypart": len(hours), "weekday": WEEKDAYS, "persona": len(tables.personas)}
    for name, width in widths.items():
        rows: tuple[tuple[float, ...], ...] = getattr(tables, name)
        if len(rows) != len(tables.categories) or any(len(row) != width for row in rows):
            return f"has a table {name} that is not {len(tables.categories)} x {width}"
        if not all(abs(number) <= BOUND for row in rows for number in row):
            return f"has numbers in the table {name} that are not within ±{BOUND}"
    return ""


def _rounded(table: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in (np.round(table, _DECIMALS) + 0.0).tolist())  # no negative zeros
