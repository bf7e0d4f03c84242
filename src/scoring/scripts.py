"""Lua scripts that run once per partition, for many partitions in one round trip.

On a cluster each run goes to the node of its partition's keys; there is no atomicity but that of each single run.
"""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import redis
from redis.exceptions import NoScriptError


class Run(NamedTuple):
    """The keys, all of one hash tag, and the arguments of one run of a script."""

    keys: Sequence[bytes]
    args: Sequence[bytes | str | int]


def lua(name: str) -> str:
    """The text of a script that stands beside this module, such as `lease.lua`."""
    return files("scoring").joinpath(name).read_text(encoding="utf-8")


class Script:
    """A script, by its text."""

    def __init__(self, client: "redis.Redis", text: str) -> None:
        self._client = client
        self._text = text
        self._digest = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    def run(self, runs: Sequence[Run]) -> list[Any]:
        """What each run answers, in order. Raises redis.RedisError if one of them fails; others may have run."""
        answers = self._sent("EVALSHA", self._digest, runs)
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        # The first time, and after a restart of the server, which forgets its scripts.
        again = self._sent("EVAL", self._text, [runs[place] for place in unknown])
        for place, answer in zip(unknown, again, strict=True):
            answers[place] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _sent(self, command: str, script: str, runs: Sequence[Run]) -> list[Any]:
        if not runs:
            return []
        with self._client.pipeline(transaction=False) as together:
            for run in runs:
                # Not `evalsha` or `eval`, which the pipeline of a cluster refuses although it can route them.
                together.execute_command(command, script, len(run.keys), *run.keys, *run.args)
            return list(together.execute(raise_on_error=False))
