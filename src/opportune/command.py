"""The command and its edge: which verbs there are, and how errors become one line and an exit status.

0 it worked · 1 it failed · 2 what was given is wrong · 5 a gate lets it not pass · 130 interrupted.
"""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import version
from typing import NamedTuple, NoReturn

from cyclopts import App, CycloptsError, UnknownCommandError

from behavior.errors import BadInput, OpportuneError


class Verb(NamedTuple):
    """One verb: its name, the function or App that it is (`module:attribute`), and its line in `--help`."""

    name: str
    path: str
    help: str


# Every verb, in the order of a first session: a new one is one line here. Its module is imported when it is called.
VERBS = (
    Verb("demo", "opportune.verbs.demo:demo", "Show the whole loop on a real year of a real shop."),
    Verb("key", "opportune.verbs.key:key", "Make the secret keys, or a caller's token."),
    Verb(
        "import", "opportune.verbs.import_events:import_events", "Read events and catalogues from files of any shape."
    ),
    Verb("apply", "opportune.verbs.apply:apply", "Compile the feature definitions into the plan."),
    Verb("backfill", "opportune.verbs.backfill:backfill", "Compute the features over the whole archive."),
    Verb("train", "opportune.verbs.train:train", "Train a propensity and make it the current bundle."),
    Verb("refresh", "opportune.verbs.refresh:refresh", "Train a challenger, and promote it if it is better."),
    Verb("segment", "opportune.verbs.segment:segment", "Group users into named personas."),
    Verb("evaluate", "opportune.verbs.train:evaluate", "Measure a bundle beside simple baselines."),
    Verb("compare", "opportune.verbs.compare:compare", "Measure two bundles on the same rows."),
    Verb("ope", "opportune.verbs.ope:ope", "Tell from the journal what another policy would have earned."),
    Verb("promote", "opportune.verbs.bundles:promote", "Let a bundle serve; the one before stays at hand."),
    Verb("rollback", "opportune.verbs.bundles:rollback", "Let the previous bundle serve again."),
    Verb("bundles", "opportune.verbs.bundles:bundles", "Show the trained bundles, or take old ones away."),
    Verb("placements", "opportune.verbs.placements:placements", "Show the placements, and check their file."),
    Verb("up", "opportune.verbs.up:up", "Run everything on this machine until Ctrl-C."),
    Verb("score", "opportune.verbs.ask:score", "Rank categories for a user, with the reasons."),
    Verb("explain", "opportune.verbs.explain:explain", "Make an answer again, and say why it was what it was."),
    Verb("track", "opportune.verbs.ask:track", "Send events, one JSON object per line."),
    Verb("inspect", "opportune.verbs.inspect:inspect", "Show a user's state, and its features online and offline."),
    Verb("parity", "opportune.verbs.parity:parity", "Check what was served against the archive, bit for bit."),
    Verb("deadletters", "opportune.verbs.dead_letters:deadletters", "Look at rejected events, or send them again."),
    Verb(
        "learner", "opportune.verbs.learner:learner", "Show what was learned from outcomes, or stop and start learning."
    ),
    Verb("clock", "opportune.verbs.clock:clock", "Show the deployment's clock, or advance it in a replay."),
    Verb("rebuild", "opportune.verbs.rebuild:rebuild", "Restore the online states from the archive."),
    Verb("serve", "opportune.verbs.consumers:serve", "Answer Score, Track and Explain over gRPC."),
    Verb("fold", "opportune.verbs.consumers:fold", "Fold the log into online states."),
    Verb("learn", "opportune.verbs.consumers:learn", "Learn from the outcomes of what was served."),
    Verb("archive", "opportune.verbs.consumers:archive", "Append the log to the archive."),
    Verb("simulate", "opportune.verbs.simulate:simulate", "Let simulated users react to what is ranked."),
    Verb("bench", "opportune.verbs.bench:bench", "Measure speed and memory on this machine."),
)


def build(chosen: str | None = None) -> App:
    """The command with all its verbs; nothing of what they do is imported yet.

    The list of verbs shows a line for each; the chosen one's own help is its docstring.
    """
    app = App(
        name="opportune",
        help="Answers, in milliseconds, what to show this person at this moment.",
        help_epilogue="Settings come from `OPPORTUNE_*` variables and `opportune.toml`: docs/reference/settings.md.",
        version=lambda: version("opportune"),
        suppress_keyboard_interrupt=False,
        exit_on_error=False,
        print_error=False,
        result_action="return_int_as_exit_code_else_zero",
    )
    for number, verb in enumerate(VERBS):
        line = {} if verb.name == chosen else {"help": verb.help}
        app.command(verb.path, name=verb.name, sort_key=number, **line)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one verb and return its exit status; errors become one line on stderr."""
    try:
        return int(build(arguments[0] if arguments else None)(list(arguments)))
    except UnknownCommandError as error:
        return _said(_unknown(error), 2)
    except CycloptsError as error:
        return _said(_one_line(error), 2)
    except BadInput as error:
        return _said(error, 2)
    except OpportuneError as error:
        return _said(error, 1)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not _interrupts_a_query(error):
            raise
        return 130


def main() -> NoReturn:
    """The entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def _interrupts_a_query(error: Exception) -> bool:
    """Whether this is what DuckDB makes of Ctrl-C, or of an interrupt from another thread, in the midst of a query.

    It is known by its words and its name: the edge does not import DuckDB.
    """
    by_signal = isinstance(error, RuntimeError) and str(error) == "Query interrupted"
    return by_signal or type(error).__name__ == "InterruptException"


def _said(error: object, status: int) -> int:
    print(f"opportune: {error}", file=sys.stderr)
    return status


def _unknown(error: UnknownCommandError) -> str:
    """What was typed and what may have been meant; the error's own text would import every verb to list them."""
    typed = (error.unused_tokens or [""])[0]
    near = get_close_matches(typed, error.app or (), n=1)
    hint = f"did you mean {near[0]}?" if near else "`opportune --help` lists the verbs"
    return f'there is no "{typed}"; {hint}'


def _one_line(error: CycloptsError) -> str:
    return " ".join(str(error).split())
