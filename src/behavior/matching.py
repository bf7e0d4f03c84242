"""Which events change a slot, and what each adds to it: said once, read as Python and as SQL."""

from collections.abc import Callable
from dataclasses import dataclass

from behavior.aggregation import ANY_KIND
from behavior.event import Event
from behavior.predicate import Predicate, number_of, number_sql, value_of


@dataclass(frozen=True, slots=True)
class Match:
    """Events of a kind (`*` for any) for which every predicate holds."""

    kind: str
    where: tuple[Predicate, ...] = ()

    def holds(self, event: Event) -> bool:
        """Whether the event is one of them."""
        return self.kind in (ANY_KIND, event.kind) and all(each.holds(event) for each in self.where)

    @property
    def sql(self) -> str:
        """The same over the archive's columns; never NULL."""
        kind = [] if self.kind == ANY_KIND else [f"kind = '{self.kind}'"]
        return " AND ".join([*kind, *(each.sql for each in self.where)]) or "TRUE"


@dataclass(frozen=True, slots=True)
class Term:
    """One addend of a sum: what each matching event adds.

    field    a numeric field, None for no field; events that do not say it add nothing
    weight   what an event counts; None for the field's own value
    """

    match: Match
    field: str | None = None
    weight: int | None = 1

    def amount(self, event: Event) -> int | None:
        """What the event adds; None if it takes no part."""
        if not self.match.holds(event):
            return None
        value = 0 if self.field is None else number_of(event, self.field)
        return None if value is None else value if self.weight is None else self.weight

    @property
    def sql(self) -> str:
        """What one row of events adds, 0 if it takes no part."""
        condition = self.match.sql
        if self.field is not None:
            condition += f" AND {number_sql(self.field)} IS NOT NULL"
        added = number_sql(str(self.field)) if self.weight is None else self.weight
        return f"CASE WHEN {condition} THEN {added} ELSE 0 END"


def amount_of(terms: tuple[Term, ...]) -> Callable[[Event], int | None]:
    """What an event of a kind that the slot takes adds over all terms; None if it takes part in none.

    The common cases are spelled out, since this is asked for every slot of every event.
    """
    if len(terms) > 1:
        return lambda event: _summed([term.amount(event) for term in terms])
    (term,) = terms
    weight, name = term.weight, term.field
    if term.match.where:
        return term.amount
    if name is None:
        return lambda event: weight
    if weight is None and not name.startswith("properties."):
        return lambda event: value_of(event, name)
    return lambda event: None if (value := number_of(event, name)) is None else value if weight is None else weight


def _summed(amounts: list[int | None]) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None
