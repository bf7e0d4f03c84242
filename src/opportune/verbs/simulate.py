"""`opportune simulate`: a made-up world with a known truth, which reacts to what it is shown."""

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from behavior.errors import BadInput
from behavior.event import DAY_US
from deployment.settings import load
from opportune.addresses import attached
from opportune.output import show
from opportune.progress import Tell, progress
from opportune.replay import replay_clock

if TYPE_CHECKING:
    from training.simulation.parameters import Parameters
    from training.simulation.rhythm import Visit
    from training.simulation.running import Offer, Reaction, Trace
    from training.simulation.world import World


def simulate(
    *,
    policy: Annotated[tuple[Literal["scorer", "random", "popular", "best"], ...], Parameter(negative=())] = ("scorer",),
    world: Path | None = None,
    seed: int | None = None,
    users: int | None = None,
    first_day: int = 0,
    days: int = 28,
    shock: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    events: Path | None = None,
    plot: Path | None = None,
    placement: str = "",
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Let simulated users come, show them what a policy ranks, and measure it against the truth of their world.

    The scorer is the one of the `opportune up` that runs in this home on a replay's clock: at each visit it is asked
    over gRPC, users react to what it shows, and that is tracked. Other policies need no deployment, and can write what
    happens into a file for `opportune import`. Nothing of this is about real people: docs/simulator.md.

    Parameters
    ----------
    policy
        Who ranks; several times: in the same visits, side by side.
    world
        TOML file of the world's parameters. Default: those that docs/simulator.md lists.
    seed
        Which of the worlds of these parameters; over the file's.
    users
        How many users; over the file's.
    first_day
        Days after the world's start at which visits begin.
    days
        How many days of visits.
    shock
        A persona whose tastes change at an instant, like 2@2024-01-15T00:00+00:00; beside the file's.
    events
        Parquet file to write the events of a single policy to. Its mapping for `opportune import` gets the ending
        .toml.
    plot
        An .svg or a .png to draw the curves into.
    placement
        With the scorer: where its answers are shown.
    as_json
        Print one JSON object instead of a table.
    """
    from training.persona_plot import file_kind
    from training.simulation.summary import draw, render, summarised, to_json
    from training.simulation.world import World

    began = time.perf_counter()
    _refuse_files(policy, events)
    if plot is not None:
        file_kind(plot)  # raises for what cannot be drawn into, before anything is simulated
    made = World(_parameters(world, {"seed": seed, "users": users}, shock))
    since = made.parameters.start_t + first_day * DAY_US
    traces: dict[str, Trace] = {}
    more: dict[str, object] = {}
    with progress() as tell:
        tell("drawing visits", 0, 1)
        visits = made.visits(since, since + days * DAY_US)
        if not visits:
            raise BadInput("there are no visits in that time; give more --days, or more --users")
        for name in dict.fromkeys(policy):
            telling = _telling(tell, name)
            if name == "scorer":
                traces[name], told = _deployed(made, visits, placement, telling)
            else:
                traces[name], told = _alone(made, visits, name, events, telling)
            more |= told
    summary = summarised(made, traces)
    if plot is not None:
        draw(summary, plot)
    more["seconds"] = round(time.perf_counter() - began, 1)
    show(render(summary), to_json(summary) | more, as_json=as_json)


def _telling(tell: Tell, policy: str) -> Tell:
    return lambda step, done, all_: tell(f"{step}, {policy}", done, all_)


def _refuse_files(policy: Sequence[str], events: Path | None) -> None:
    if events is None:
        return
    if len(set(policy)) != 1 or "scorer" in policy:
        raise BadInput("--events writes what one policy leads to; name one of random, popular, best with --policy")
    if events.suffix != ".parquet":
        raise BadInput(f"{events}: events are written as .parquet; choose this ending")


def _parameters(file: Path | None, over: dict[str, object | None], shocks: Sequence[str]) -> "Parameters":
    from training.simulation.parameters import given_in, made_of

    given = {} if file is None else given_in(file)
    return made_of(given | {name: value for name, value in over.items() if value is not None}, map(_shock, shocks))


def _shock(text: str) -> dict[str, object]:
    persona, _, instant = text.partition("@")
    try:
        return {"persona": int(persona), "at": datetime.fromisoformat(instant)}
    except ValueError:
        raise BadInput(f"{text!r} is no shock; write it like 2@2024-01-15T00:00+00:00") from None


def _alone(
    world: "World", visits: Sequence["Visit"], name: str, events: Path | None, tell: Tell
) -> tuple["Trace", dict[str, object]]:
    """What a policy that needs no deployment leads to, and how many events of it were written."""
    from training.simulation.events import EventFile
    from training.simulation.policies import policy_named
    from training.simulation.running import run

    policy, hear = policy_named(name, world)
    if events is None:
        return run(world, policy, visits, hear=hear, progress=tell), {}
    with EventFile(world, events) as file:

        def both(visit: "Visit", offer: "Offer", reaction: "Reaction") -> None:
            file.hear(visit, offer, reaction)
            if hear is not None:
                hear(visit, offer, reaction)

        trace = run(world, policy, visits, hear=both, progress=tell)
    return trace, {"events_written": file.written, "events_file": events, "mapping_file": file.mapping}


def _deployed(
    world: "World", visits: Sequence["Visit"], placement: str, tell: Tell
) -> tuple["Trace", dict[str, object]]:
    """What the scorer leads to of the deployment that runs in this home."""
    from opportune.deployed import Deployed
    from scoring.client import Client
    from training.simulation.running import run

    reached = attached(load())
    with Client(f"{reached.host}:{reached.port}", deadline_s=10.0) as client, replay_clock(reached) as clock:
        deployed = Deployed(world, client, clock, placement)
        trace = run(world, deployed.order, visits, hear=deployed.hear, progress=tell)
        deployed.finish()
    return trace, {"tracked": deployed.tracked, "degraded": dict(deployed.degraded)}
