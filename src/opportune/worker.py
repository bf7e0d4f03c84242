"""One worker of `opportune serve`: a server that shares its port. Started by `workers.py` only.

`python -m opportune.worker` listens at once, with `when-ready` only when it can answer as the others do.
"""

import sys

from behavior.errors import BadInput, OpportuneError
from deployment.settings import load
from scoring.server import serve


def _main() -> None:
    try:
        serve(load(), shares_port=True, when_ready="when-ready" in sys.argv[1:])
    except OpportuneError as error:
        print(f"opportune: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, BadInput) else 1)


if __name__ == "__main__":
    _main()
