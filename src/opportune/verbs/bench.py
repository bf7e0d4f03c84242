"""`opportune bench`: what this machine does, measured."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from behavior.errors import BadInput

# Every benchmark: its name, the module and function that runs it, and its line in the list.
BENCHMARKS: dict[str, str] = {
    "serving": "latency of Score, and how soon a tracked event shows in it, beside the floor of the log itself",
}


def bench(
    name: str | None = None,
    *,
    home: Path = Path("var/demo"),
    rounds: int = 5,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Measure speed on this machine; without a name, list what can be measured.

    Figures are medians of interleaved rounds with their spread. Trust ratios, not milliseconds: machines differ.

    Parameters
    ----------
    name
        Which benchmark; `serving` needs the home of a demo that has run.
    home
        A home with archive, plan and bundle, such as `opportune demo` leaves.
    rounds
        How many interleaved rounds.
    as_json
        Print one JSON object as the last line.
    """
    if name is None:
        for each, summary in BENCHMARKS.items():
            print(f"{each}  {summary}")
        return
    if name not in BENCHMARKS:
        raise BadInput(f"there is no benchmark {name}; there is {', '.join(BENCHMARKS)}")
    from opportune.output import show
    from opportune.serving_bench import measure, render

    found = measure(home, rounds)
    show(render(found), found, as_json=as_json)
