"""A learner process that kills itself in the middle of its first commit that learns; for the negative control.

    python -m tests.chaos.torn_learn torn     places, pending entries and order are committed by one call, the numbers
                                              and their delta would be by a second one
    python -m tests.chaos.torn_learn whole    the script as it is; killed when it has answered

With `torn` it dies between the two.
"""

import os
import signal
import sys
from collections.abc import Sequence

import msgspec

from opportune.verbs.consumers import learn
from scoring.learn_state import LearnState, Step
from scoring.residuals import is_followed


def main() -> None:
    """Learn until the first commit that has learned something."""
    is_torn = sys.argv[1] == "torn"
    whole = LearnState.commit

    def commit(self: LearnState, steps: Sequence[Step]) -> list[bool]:
        has_learned = any(step.changed for step in steps)
        if is_torn:
            steps = [_without_numbers(step) for step in steps]
        answers = whole(self, steps)
        if has_learned:
            os.kill(os.getpid(), signal.SIGKILL)
        return answers

    LearnState.commit = commit  # type: ignore[method-assign]
    learn()


def _without_numbers(step: Step) -> Step:
    taken = msgspec.structs.replace(step.taken, version=step.taken.version - any(map(is_followed, step.changed)))
    return Step(step.shard, step.epoch, step.commits, taken, {}, step.joins)


if __name__ == "__main__":
    main()
