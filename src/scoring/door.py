"""The door of a server: every call comes through it, is known by its token or certificate, and is held to its limits.

Health is asked without passing it: probes and balancers carry no token, and it tells nothing but SERVING or not.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from behavior.errors import BadInput, Exhausted, Forbidden, Unauthenticated
from deployment.settings import Settings
from scoring.access import Access, read_access
from scoring.allowance import Allowance
from scoring.watched import Watched

_log = logging.getLogger("opportune.door")
_OPEN = nullcontext("")
_SCHEME = "bearer "


class Door:
    """Lets calls in, or says why not. Without an access file everybody may do everything.

    told      called with the caller, the permission and the outcome of each call that was held against the file
    refused   called when a new access file is refused; the one before goes on

    Making it raises BadInput for an access file that is wrong.
    """

    def __init__(
        self,
        settings: Settings,
        told: Callable[[str, str, str], None] = lambda caller, permission, outcome: None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._file = settings.access_file
        self._asks = settings.tls_client_ca_file is not None
        self._told = told
        self._refused = refused
        self._access: Access | None = None
        self._allowances: dict[str, Allowance] = {}
        if self._file is not None:
            self._watched = Watched(self._file)
            self._watched.changed()
            self._take(read_access(self._file, asks_for_certificates=self._asks))

    def refresh(self) -> None:
        """Take over a changed access file; calls that are open are not touched."""
        if self._file is None or not self._watched.changed():
            return
        try:
            self._take(read_access(self._file, asks_for_certificates=self._asks))
        except BadInput as error:
            self._refused()
            _log.error("the access file is refused, the one before goes on: %s", error)
        else:
            _log.info("the access file %s is taken over", self._file)

    def passage(self, permission: str, context: Any) -> AbstractContextManager[str]:
        """As long as it is open the call counts as one of its caller's; gives the caller's name, empty without a file.

        Entering it raises Unauthenticated, Forbidden or Exhausted.
        """
        return _OPEN if self._access is None else self._passage(self._access, permission, context)

    @contextmanager
    def _passage(self, access: Access, permission: str, context: Any) -> Iterator[str]:
        name = ""
        try:
            name = _caller(access, context)
            if permission not in access.callers[name].may:
                raise Forbidden(f"{name} may not {permission} here; the server's access file says what it may")
            allowance = self._allowances[name]
            allowance.begin()
        except (Unauthenticated, Forbidden, Exhausted) as error:
            self._told(name, permission, _outcome(error))
            raise
        self._told(name, permission, "admitted")
        try:
            yield name
        finally:
            allowance.end()

    def _take(self, access: Access) -> None:
        before, self._access = self._allowances, access
        self._allowances = {}
        for name, limits in access.callers.items():
            self._allowances[name] = before.get(name) or Allowance(name, limits)
            self._allowances[name].change(limits)


def _caller(access: Access, context: Any) -> str:
    """The caller's name, by the token if one is shown, else by the certificate of its connection."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            if not value[: len(_SCHEME)].lower() == _SCHEME:
                raise Unauthenticated("the metadata `authorization` must be `Bearer <token>`")
            return access.of_token(value[len(_SCHEME) :].strip())
    shown = context.auth_context()
    names = (*shown.get("x509_subject_alternative_name", ()), *shown.get("x509_common_name", ()))
    return access.of_certificate(each.decode(errors="replace") for each in names)


def _outcome(error: Unauthenticated | Forbidden | Exhausted) -> str:
    return error.limit if isinstance(error, Exhausted) else type(error).__name__.lower()
