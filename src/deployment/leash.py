"""A child process that cannot outlive its parent, not even a parent that is killed with -9.

This file is also the program that does it: started in the child, it asks Linux to kill the process when the parent's
thread that started it ends, and then becomes the real program. (A `preexec_fn` would do the same by forking, which
gRPC's threads in the parent do not survive.) Where there is no `prctl`, the child runs without a leash.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def leashed(argv: Sequence[str]) -> list[str]:
    """The command that runs argv as a child which dies with this process; the pid becomes argv's own."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


def _main() -> None:
    parent, argv = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have died before the request was made; then nobody would kill us.
        if os.getppid() != parent:
            sys.exit(1)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.exit(f"{argv[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    _main()
