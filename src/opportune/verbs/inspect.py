"""`opportune inspect`: all that is known of one user, as it is served and as the events say."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deployment.settings import Settings, load
from opportune.addresses import attached
from opportune.output import show
from opportune.replay import instant, shown

if TYPE_CHECKING:
    from opportune.inspection import Inspection, Stored

_WIDEST = 44


def inspect(
    user: str,
    *,
    at: str | None = None,
    category: tuple[str, ...] = (),
    anonymous: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Show a user's stored state, and each feature online beside its value derived anew from the archive and the log.

    Both are asked for the same instant and the same offset, so that they are equal to the last bit; where they are not,
    the row is marked. Shown are the values of the user, of the user's categories, and of these for everybody.

    Parameters
    ----------
    user
        The user's id as your own systems know it, or the pseudonym that other output shows.
    at
        An instant of the past, like 2017-10-15T00:00 (in the settings' zone unless it has an offset): only what the
        events say. Default: now.
    category
        Categories to show. Default: the three in which the user did something last.
    anonymous
        The id is that of a cookie or a device.
    as_json
        Print one JSON object, instants in microseconds since 1970 UTC.
    """
    from opportune import inspection

    settings = attached(load())
    user_id = inspection.pseudonym_of(user, settings, anonymous=anonymous)
    if at is None:
        found = inspection.inspect(settings, user_id, category)
    else:
        found = inspection.inspect_past(settings, user_id, instant(at, settings), category)
    show(_unknown(found) if not found.known else _known(found, settings), found, as_json=as_json)


def _unknown(found: "Inspection") -> Text:
    return Text(f"nothing is known of this user ({found.user_id}, partition {found.partition}): no state and no event")


def _known(found: "Inspection", settings: Settings) -> RenderableType:
    parts: list[RenderableType] = [Text(f"user {found.user_id}, partition {found.partition}")]
    parts.append(Text(_where(found, settings)))
    if found.states:
        parts.append(_states(found.states))
    parts.append(_values(found))
    if found.offset is not None:
        differ = f"{found.differing} of {len(found.values)} values differ"
        parts.append(Text(differ if found.differing else f"all {len(found.values)} values are equal to the last bit"))
    return Group(*parts)


def _where(found: "Inspection", settings: Settings) -> str:
    s = "no snapshot yet" if found.s is None else f"snapshot of {shown(found.s, settings)}"
    lines = [f"as of {shown(found.as_of, settings)}, {s}"]
    if found.offset is not None:
        offset = shown(found.offset, settings) if found.offset else "the beginning"
        lines.append(f"generation {found.generation}, folded up to {offset}")
        lines.append(f"stored: {found.fields} states, {found.bytes:,} bytes")
    until = shown(found.archived_until, settings) if found.archived_until else "nothing of this partition's log yet"
    lines.append(f"archived: {until}; {found.from_log:,} events not archived yet were taken from the log")
    return "\n".join(lines)


def _states(states: "tuple[Stored, ...]") -> Table:
    from opportune.slot_words import instant_words

    table = Table("state", "bytes", "raw values", "holds", title="stored (instants in UTC)", title_justify="left")
    table.columns[1].justify = "right"
    for each in states:
        name = each.view if each.category is None else f"{each.view} {each.category}"
        table.add_row(Text(name), str(each.size), "latest event", instant_words(each.seen_e))
        for raws, said in each.slots.items():
            table.add_row("", "", Text(raws), Text(said))
    return table


def _values(found: "Inspection") -> Table:
    both = found.offset is not None
    columns = ("of", "feature", "online", "offline", "") if both else ("of", "feature", "offline")
    table = Table(*columns, title="features", title_justify="left")
    for place in range(2, 4 if both else 3):
        table.columns[place].justify = "right"
    before: str | None = ""
    for each in found.values:
        of = "the user" if each.entity is None else each.entity
        row = [Text("" if of == before else of), Text(each.feature)]
        row += [Text(_said(each.online)), Text(_said(each.offline)), Text("≠" if each.differs else "")] if both else []
        row += [] if both else [Text(_said(each.offline))]
        table.add_row(*row, style="bold red" if each.differs else None)
        before = of
    return table


def _said(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.9g}"  # tells any two float32 apart
    if isinstance(value, list):
        value = f"{len(value)}: {', '.join(value)}"
    text = str(value)
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}..."
