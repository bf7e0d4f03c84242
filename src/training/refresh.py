"""Refreshing a model: from what the archive holds now to a promoted challenger, or to the reasons against it.

    begin ─▶ backfill ─▶ train ─▶ judge ─▶ load ─▶ promote ─▶ decide
                           │        │        │         │          └─ one line in decisions.jsonl
                           │        │        │         └─ `previous` and `current` of the target, if the verdict says so
                           │        │        └─ the challenger is the `canary`: loaded as a server does, golden rows too
                           │        └─ challenger and current on Sundays that neither has seen, gate, report
                           └─ a bundle that no pointer names yet

What a run has decided is written down after each step, and every step can be done again without harm: whenever it is
killed, the next `refresh` goes on with the same run, to the same bundle and the same pointers. So a run fixes at its
beginning what time would change: the instants, the current bundle, and when it was started.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from behavior.errors import BadInput, BundleRefused
from behavior.event import DAY_US
from deployment.durable import replace_durably
from training.gate import Verdict
from training.rows import sundays
from training.steps import Progress, Step, Steps
from training.targets import Target

FORMAT = 1


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a refresh has decided so far; instants in µs UTC.

    started      ISO 8601, UTC: also when the challenger was made, so that the same data give the same bundle
    until        nothing at or after it is learned from
    cutoffs      the Sundays that challenger and current are measured on
    current      the bundle that serves, if there is one
    challenger   the bundle that was trained, once it was
    promote      the verdict, once there is one, and its reasons
    done         how many steps are behind it
    """

    format: int = FORMAT
    target: str
    started: str
    until: int
    cutoffs: tuple[int, ...]
    current: str | None
    challenger: str | None = None
    promote: bool | None = None
    reasons: tuple[str, ...] = ()
    done: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """What the steps of a run do, each once more or less often with the same effect.

    backfill   make the tables reach as far as the archive does
    train      a bundle that was created at an instant and knows nothing at or after another: its id
    judge      a challenger beside the current bundle, if there is one, on cut-offs; writes the report too
    load       the canary, as a server loads it; raises BundleRefused
    promote    a bundle to `current`
    canary     let the pointer name a bundle
    """

    backfill: Callable[[], None]
    train: Callable[[datetime, int], str]
    judge: Callable[[str, str | None, Sequence[int]], Verdict]
    canary: Callable[[str], None]
    load: Callable[[str], None]
    promote: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a challenger, and how long each step took (those of this process)."""

    target: str
    challenger: str
    current: str | None
    promoted: bool
    reasons: tuple[str, ...]
    resumed: bool
    steps: tuple[Step, ...]


def begin(
    target: Target,
    *,
    latest: int,
    current: str | None,
    learned_until: int,
    zone: str,
    started: datetime,
    weeks: int,
) -> Run:
    """A new run on an archive whose latest event is at `latest` (µs): the last `weeks` Sundays with known labels are
    held back from the challenger, those alone that the current bundle has not learned from either.

    learned_until    where the current bundle's knowledge ends (µs), 0 without one
    Raises BadInput if there is none.
    """
    known = latest + 1 - target.horizon_us
    cutoffs = sundays(max(known - weeks * 7 * DAY_US, learned_until), known, zone)[-weeks:]
    if not cutoffs:
        since = f"since the current bundle, {current}, was trained" if current else "in the archive"
        raise BadInput(
            f"{target.name}: there is no Sunday {since} whose {target.horizon_us // DAY_US} days are over, so that a "
            "challenger could not be judged; refresh when there is"
        )
    return Run(
        target=target.name, started=started.astimezone(UTC).isoformat(), until=cutoffs[0], cutoffs=tuple(cutoffs),
        current=current,
    )  # fmt: skip


def load_run(path: Path) -> Run | None:
    """The run that was not brought to its end, if there is one. Raises BadInput if it cannot be read."""
    try:
        run = msgspec.json.decode(path.read_bytes(), type=Run)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise BadInput(f"{path} cannot be read ({error}); remove it, and refresh anew") from None
    if run.format != FORMAT:
        raise BadInput(f"{path} is of format {run.format}, this version goes on with {FORMAT}; remove it")
    return run


def refresh(directory: Path, run: Run, work: Work, progress: Progress = lambda what, done, all_: None) -> Decision:
    """Bring a run to its end, step by step from where it is; its file is gone then.

    directory    where `<target>.json` and `decisions.jsonl` lie
    """
    path, steps = directory / f"{run.target}.json", Steps(progress)
    resumed = run.done > 0
    directory.mkdir(parents=True, exist_ok=True)
    save(path, run)
    for name, step in STEPS[run.done :]:
        with steps.step(name):
            run = msgspec.structs.replace(step(run, work), done=run.done + 1)
            save(path, run)
    decide(directory / "decisions.jsonl", run)
    path.unlink()
    assert run.challenger is not None
    return Decision(run.target, run.challenger, run.current, bool(run.promote), run.reasons, resumed, tuple(steps.done))


def save(path: Path, run: Run) -> None:
    """Write a run down, whole or not at all."""
    replace_durably(path, msgspec.json.encode(run) + b"\n")


def decide(path: Path, run: Run) -> None:
    """Append what was decided, once per run."""
    line = msgspec.json.encode(
        {
            "target": run.target, "started": run.started, "challenger": run.challenger, "current": run.current,
            "promoted": run.promote, "reasons": run.reasons, "cutoffs": run.cutoffs,
        }
    )  # fmt: skip
    lines = path.read_bytes().splitlines() if path.exists() else []
    if line not in lines:
        replace_durably(path, b"".join(each + b"\n" for each in [*lines, line]))


def _backfill(run: Run, work: Work) -> Run:
    work.backfill()
    return run


def _train(run: Run, work: Work) -> Run:
    return msgspec.structs.replace(run, challenger=work.train(datetime.fromisoformat(run.started), run.until))


def _judge(run: Run, work: Work) -> Run:
    verdict = work.judge(_challenger(run), run.current, run.cutoffs)
    return msgspec.structs.replace(run, promote=verdict.promote, reasons=verdict.reasons)


def _load(run: Run, work: Work) -> Run:
    if not run.promote:
        return run
    work.canary(_challenger(run))
    try:
        work.load(_challenger(run))
    except BundleRefused as error:
        return msgspec.structs.replace(run, promote=False, reasons=(f"a server would refuse it: {error}",))
    return run


def _promote(run: Run, work: Work) -> Run:
    if run.promote:
        work.promote(_challenger(run))
    return run


def _challenger(run: Run) -> str:
    assert run.challenger is not None  # the step before has trained it
    return run.challenger


STEPS: tuple[tuple[str, Callable[[Run, Work], Run]], ...] = (
    ("backfilling", _backfill),
    ("training", _train),
    ("judging", _judge),
    ("loading as a server", _load),
    ("promoting", _promote),
)
