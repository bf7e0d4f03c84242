"""Defects to plant, one at a time, in the code under test: each is a line of it, changed.

A comparison that catches none of them proves nothing. What they change is looked up in the source as it is now, so a
defect that fits nowhere any more is an error, not a success.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from behavior.column import Column
from behavior.kinds import KINDS

ONLINE, OFFLINE, BOTH = "online", "offline", "both"


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong, which side it spoils (ONLINE, OFFLINE or BOTH), and how it is planted for a while."""

    name: str
    side: str
    planted: Callable[[], AbstractContextManager[None]]


def _changed(where: str, before: str, after: str, used_by: str | None = None) -> Callable[[], Any]:
    """Plants a line: `where` is `module:function` or `module:Class.method`, `used_by` a module that imported it."""

    @contextmanager
    def planted() -> Iterator[None]:
        module_name, _, path = where.partition(":")
        module: Any = importlib.import_module(module_name)
        *outer, name = path.split(".")
        owner = getattr(module, outer[0]) if outer else module
        source = inspect.getsource(_function(vars(owner)[name]))
        assert source.count(before) == 1, f"{where} has {before!r} {source.count(before)} times"
        made: dict[str, Any] = {}
        # Methods stay indented as they are: a text in them may not be.
        exec(("if True:\n" if outer else "") + source.replace(before, after), vars(module), made)
        places = [owner] if used_by is None else [importlib.import_module(used_by)]
        with _swapped(places[0], name, made[name]):
            yield

    return planted


def _function(found: Any) -> Any:
    """What has a source: of a property its getter."""
    return getattr(found, "fget", None) or getattr(found, "func", None) or found


@contextmanager
def _swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    former = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, former)


def _finalised(kind: str, finalise: Callable[..., Column]) -> Callable[[], Any]:
    """Plants another way to make a kind's final value."""

    @contextmanager
    def planted() -> Iterator[None]:
        former = KINDS[kind].finalise
        object.__setattr__(KINDS[kind], "finalise", finalise)
        try:
            yield
        finally:
            object.__setattr__(KINDS[kind], "finalise", former)

    return planted


def _in_numpy(former: Callable[[], Any]) -> Callable[[], Any]:
    """Plants it where states are read in numpy, as they are without a C compiler."""

    @contextmanager
    def planted() -> Iterator[None]:
        with _swapped(importlib.import_module("behavior.readout"), "read_states", None), former():
            yield

    return planted


def _unfenced() -> Callable[[], Any]:
    """Plants a commit that does not ask who commits, nor where the states stand."""

    @contextmanager
    def planted() -> Iterator[None]:
        fold = importlib.import_module("scoring.fold")
        read = fold.lua

        def lua(name: str) -> str:
            return "\n".join(line for line in read(name).splitlines() if "then return 0 end" not in line)

        with _swapped(fold, "lua", lua):
            yield

    return planted


def _float32_age(raws: Any, t: np.ndarray, spec: Any) -> Column:
    return Column((t - raws[0].values).astype(np.float32) / np.float32(1_000_000), raws[0].valid)


def _mean_of_none(raws: Any, t: np.ndarray, spec: Any) -> Column:
    summed, number = raws
    mean = summed.values / np.maximum(number.values, 1).astype(np.float64)
    return Column(mean.astype(np.float32), number.valid)


DEFECTS: tuple[Defect, ...] = (
    Defect("a window one hop too long, one state", ONLINE,
           _in_numpy(_changed("behavior.sums:Buckets.read", "if hop <= oldest", "if hop < oldest"))),
    Defect("a window one hop too long, many states at once", ONLINE,
           _in_numpy(_changed("behavior.window_sums:Windows._nth", "since > -length", "since >= -length"))),
    Defect("hops forgotten one too early", ONLINE,
           _changed("behavior.sums:_prune", "while last <= oldest", "while last <= oldest + 1")),
    Defect("the admission instant taken for the event time", ONLINE,
           _changed("behavior.event:admit", "min(event.client_time, k)", "k", used_by="scoring.fold")),
    Defect("the latest value by admission, not by event time", ONLINE,
           _changed("behavior.extremes:ExtremeValue.merge", "right[:3] > left[:3]", "right[1:3] > left[1:3]")),
    Defect("events without consent to personalisation folded", ONLINE,
           _changed("behavior.state:belongs", "said.purposes & PERSONALIZATION != 0", "said.purposes != 0")),
    Defect("state not begun afresh after the retention", ONLINE,
           _changed("behavior.state:fold", ">= view.retention_us", ">= 2 * view.retention_us")),
    Defect("an event of the very edge in the interval before it", ONLINE,
           _changed("scoring.partition_states:PartitionStates.add", "event.k - event.k % interval + interval",
                    "event.k - 1 - (event.k - 1) % interval + interval")),
    Defect("a partition lost when the snapshot is merged", ONLINE,
           _changed("scoring.publishing:Publisher._take_in", "decode_deltas(self._plan, fresh).items()",
                    "decode_deltas(self._plan, fresh if number else {}).items()")),
    Defect("rows that are not made anew when something leaves a window", ONLINE,
           _changed("scoring.publishing:Wholes.due", "while self._due and", "while not self._due and")),
    Defect("a fold that was superseded commits all the same", ONLINE, _unfenced()),
    Defect("an event shows at its admission, not after it", OFFLINE,
           _changed("training.change_points:Statement._lived", "instant('k + 1')", "instant('k')")),
    Defect("an event shows at its event time", OFFLINE,
           _changed("training.change_points:Statement._lived", "instant('k + 1')", "instant('e + 1')")),
    Defect("an event leaves its window one hop late", OFFLINE,
           _changed("training.change_points:Statement._left", "% {hop_of(over_us)} + {over_us}",
                    "% {hop_of(over_us)} + {over_us + hop_of(over_us)}")),
    Defect("events without consent to personalisation in the tables", OFFLINE,
           _changed("training.chosen:Chosen.rows", "<> 0", ">= 0")),
    Defect("the last events in the order of ids only", OFFLINE,
           _changed("training.members_sql:recent_lists", "BY k DESC, message_id DESC", "BY message_id DESC",
                    used_by="training.change_points")),
    Defect("the row before the one that holds", OFFLINE,
           _changed("feast_plugin.joins:_at_instants", ">= stored.valid_from", "> stored.valid_from")),
    Defect("a change of a snapshot view shows an interval early", OFFLINE,
           _changed("training.chosen:Chosen.instant", "({sql} + {interval - 1}) - ({sql} + {interval - 1}) %",
                    "({sql}) - ({sql}) %")),
    Defect("ages in single precision", BOTH, _finalised("age", _float32_age)),
    Defect("the mean of nothing is 0", BOTH, _finalised("mean", _mean_of_none)),
)  # fmt: skip
