"""Ports that nobody else on this machine is given while we use them."""

import socket
import sys
from contextlib import AbstractContextManager, suppress
from types import TracebackType

from behavior.errors import BadInput


class ReservedPort(AbstractContextManager["ReservedPort"]):
    """A free TCP port that stays ours: bound but never listening, so that a child process can listen on it.

    Linux lets a second socket bind an address whose holder does not listen if both allow reuse, as servers do; the
    kernel meanwhile hands the port to nobody who asks for any free one. Elsewhere the port is only found, not held.
    """

    def __init__(self, host: str) -> None:
        """Raises BadInput if the host is no address of this machine."""
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            self._socket.bind((host, 0))
        except OSError as error:
            self._socket.close()
            raise BadInput(
                f"cannot listen on host {host!r}: {error.strerror}; set `host` to an address of this machine"
            ) from None
        self.port: int = self._socket.getsockname()[1]
        if sys.platform == "linux":
            # Set only now: while looking for a free port, reuse could have led us to somebody else's.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        else:
            self._socket.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the port back."""
        self._socket.close()


def require_free(host: str, port: int) -> None:
    """Raises BadInput if a process listens on the port.

    The kernel would let two processes of one user share it, and a process of another deployment would answer every
    other call with somebody else's data.
    """
    if port and _listens(host, port):
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise BadInput(f"another process listens on {target}; stop it, or set OPPORTUNE_PORT to a free port")


def _listens(host: str, port: int) -> bool:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    with suppress(OSError), socket.create_connection((reachable, port), timeout=1.0):
        return True
    return False
