"""A refresh that kills itself: `python -m tests.opportune.killed_refresh 1 after` dies after step 1, not noted yet.

The verdict is given, so that pointers move: what the gate says is tested where the gate is.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from opportune.command import run
from training import judging, refresh
from training.gate import Verdict

PROMOTE = Verdict(True, ("said so by the test",))


def dying(step: Callable[..., Any], when: str) -> Callable[..., Any]:
    """The step, and kill -9 before or after it."""

    def die(*arguments: Any) -> Any:
        if when == "after":
            step(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    return die


def main() -> None:
    place, when = int(sys.argv[1]), sys.argv[2]
    judging.judge = lambda *_: PROMOTE  # type: ignore[assignment]
    steps = list(refresh.STEPS)
    if place < len(steps):
        name, step = steps[place]
        steps[place] = (name, dying(step, when))
        refresh.STEPS = tuple(steps)
    else:
        refresh.decide = dying(refresh.decide, when)
    sys.exit(run(["refresh", "--weeks", "2"]))


if __name__ == "__main__":
    main()
