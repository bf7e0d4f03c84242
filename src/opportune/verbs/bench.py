"""`opportune bench`: what this machine does, measured."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

from cyclopts import Parameter

from behavior.errors import BadInput

# Every benchmark and its line in the list. A benchmark is a module of the repository's tests/benchmarks with `measure`
# (a home and a number of rounds -> figures whose names say their units) and `render` (the figures -> a table).
BENCHMARKS: dict[str, str] = {
    "fold": "how fast events become states, how soon they are seen, and how many bytes a user takes",
    "learn": "how soon an event changes what scorers hold of the learner, and how many labelled events it learns",
    "backfill": "the year into change-point tables, one day more, and training rows from them",
    "read": "a user with its categories and 100 items, cold, beside Feast's own Redis store",
    "parity": "offline, online and a naive oracle, compared bit for bit; and planted defects that must be caught",
    "onnx": "raw margins of ONNX Runtime beside LightGBM's, on rows made to find differences",
    "reference": "our propensities beside a plain LightGBM on hand-made window counts, on the same rows",
    "learners": "the learner of crosses beside Vowpal Wabbit, on the same examples of MovieLens-100k",
    "adaptation": "how soon the ranking follows a change of tastes, beside the frozen batch model; simulated",
    "ope": "whether 95 % intervals of off-policy values cover the truth, simulated, and on the Open Bandit sample",
    "drift": "how often a stable stream alarms, beside the stated rate, how small a shift is found, and its cost",
    "overload": "whether a caller keeps a deadline of 100 ms while another one floods the server, which has one core",
    "anomaly": "anomalies found and false alarms, on simulated metrics and NAB, beside ADWIN and Page-Hinkley",
    "score": "what a Score costs beside an empty RPC and beside a scorer as one first writes it, and its stages",
    "faults": "answers while Redis is frozen, cut off, slow or flapping: in time, and with what they say",
    "serving": "latency of Score, and how soon a tracked event shows in it, beside the floor of the log itself",
}
_ROOT = Path(__file__).parents[3]


def bench(
    name: str | None = None,
    *,
    home: Path = Path("var/demo"),
    rounds: int = 5,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Measure this machine; without a name, list what can be measured.

    Figures are medians of interleaved rounds with their spread. Trust ratios, not milliseconds: machines differ. The
    benchmarks are part of the repository, and use the real year of the demonstration.

    Parameters
    ----------
    name
        Which benchmark; `serving` and `faults` need the home of a demo that has run, the others make what they need in
        the home.
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
    from opportune.output import show

    module = _benchmark(name)
    found = module.measure(home, rounds)
    show(module.render(found), found, as_json=as_json)


def _benchmark(name: str) -> ModuleType:
    if name not in BENCHMARKS:
        raise BadInput(f"there is no benchmark {name}; there is {', '.join(BENCHMARKS)}")
    if not (_ROOT / "tests" / "benchmarks" / f"{name}.py").is_file():
        raise BadInput("benchmarks are part of the repository; run them from a checkout, after `make setup`")
    sys.path.insert(0, str(_ROOT))
    return importlib.import_module(f"tests.benchmarks.{name}")
