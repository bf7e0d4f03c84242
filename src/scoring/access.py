"""Who may call a server, and for what: the access file.

    [callers.web]
    token_sha256 = ["5994471a…"]       # of the tokens that it may show, several while one is being replaced
    certificates = ["web.internal"]    # names of its certificate: DNS, URI or common name
    may = ["score", "track"]           # of PERMISSIONS
    calls_per_s = 500                  # default: no limit; at most `burst` (default: a second's worth) in a moment
    at_once = 64                       # calls that may be open at the same time; default: no limit

Tokens are random (`opportune key --caller web`), so that their plain SHA-256 tells nothing: the file holds no secret.
"""

import hmac
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from behavior.errors import BadInput, Unauthenticated

PERMISSIONS = ("score", "track", "explain", "reflection")
# Every caller is a label of metrics, and every token is compared at each call (0.2 µs).
MAX_CALLERS = 100
_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller of the file; see the module."""

    may: frozenset[str]
    token_sha256: tuple[str, ...] = field(default=(), repr=False)
    certificates: frozenset[str] = frozenset()
    calls_per_s: float | None = None
    burst: float | None = None
    at_once: int | None = None


class Access:
    """The callers of a deployment."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self.callers = dict(callers)
        self._tokens = [
            (bytes.fromhex(digest), name) for name, caller in callers.items() for digest in caller.token_sha256
        ]
        self._certificates = {each: name for name, caller in callers.items() for each in caller.certificates}

    def of_token(self, token: str) -> str:
        """The name of the caller whose token it is. Raises Unauthenticated if it is nobody's.

        All tokens are compared, whichever fits, each in constant time: how long it takes tells nothing.
        """
        given, found = sha256(token.encode()).digest(), None
        for digest, name in self._tokens:
            if hmac.compare_digest(digest, given):
                found = name
        if found is None:
            raise Unauthenticated("the token is not one of this server's; ask its operator for a new one")
        return found

    def of_certificate(self, names: Iterable[str]) -> str:
        """The name of the caller whose certificate bears one of the names. Raises Unauthenticated if it is nobody's."""
        for each in names:
            if each in self._certificates:
                return self._certificates[each]
        raise Unauthenticated(
            "nobody is known by this call: send the metadata `authorization: Bearer <token>`, "
            "or show a certificate that the server's access file names"
        )


def read_access(path: Path, *, asks_for_certificates: bool) -> Access:
    """The access file, checked. Raises BadInput that names file, caller and key, and never a token."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"the access file {path} is not valid TOML: {error}") from None
    except OSError as error:
        raise BadInput(f"the access file {path} cannot be read: {error.strerror}") from None
    _refuse_unknown(table, ["callers"], str(path))
    callers = table.get("callers")
    if not isinstance(callers, dict) or not callers:
        raise BadInput(f"{path} names no caller; write a table such as [callers.web]")
    if len(callers) > MAX_CALLERS:
        raise BadInput(f"{path} names {len(callers)} callers; {MAX_CALLERS} are the most")
    read = {name: _caller(f"{path}, callers.{name}", name, each) for name, each in callers.items()}
    _refuse_shared(path, read)
    for name, caller in read.items():
        if caller.certificates and not asks_for_certificates:
            raise BadInput(
                f"{path}, callers.{name}.certificates: nobody is asked for a certificate; set tls_client_ca_file"
            )
    return Access(read)


def is_name(text: str) -> bool:
    """Whether a caller can be called so."""
    return _NAME.fullmatch(text) is not None


def _caller(where: str, name: str, table: Any) -> Caller:
    if not is_name(name):
        raise BadInput(f"{where}: a caller's name has 1 to 64 lower-case letters, digits, - and _")
    if not isinstance(table, dict):
        raise BadInput(f"{where} must be a table; write [callers.{name}]")
    _refuse_unknown(table, [each.name for each in fields(Caller)], where)
    for number, digest in enumerate(_list(table, "token_sha256")):
        if not isinstance(digest, str) or _SHA256.fullmatch(digest) is None:
            raise BadInput(f"{where}.token_sha256[{number}] is no SHA-256: 64 lower-case hexadecimal digits")
    for permission in _list(table, "may"):
        _refuse_unknown([permission], PERMISSIONS, f"{where}.may", what="permission")
    try:
        caller = msgspec.convert(table, Caller)
    except msgspec.ValidationError as error:
        raise BadInput(f"{where}: {error}") from None
    if not caller.token_sha256 and not caller.certificates:
        raise BadInput(f"{where} cannot be told from others; give it token_sha256 or certificates")
    _refuse_limits(where, caller)
    return caller


def _list(table: Mapping[str, Any], key: str) -> list[Any]:
    found = table.get(key, [])
    return found if isinstance(found, list) else [found]


def _refuse_limits(where: str, caller: Caller) -> None:
    for key, least in (("calls_per_s", 0.001), ("burst", 1), ("at_once", 1)):
        value = getattr(caller, key)
        if value is not None and not least <= value <= 1e9:
            raise BadInput(f"{where}.{key} is {value}; it must be at least {least:g}")
    if caller.burst is not None and caller.calls_per_s is None:
        raise BadInput(f"{where}.burst belongs to calls_per_s, which is not set")


def _refuse_shared(path: Path, callers: Mapping[str, Caller]) -> None:
    owners: dict[str, str] = {}
    for name, caller in callers.items():
        for each in (*caller.token_sha256, *caller.certificates):
            if owners.setdefault(each, name) != name:
                raise BadInput(f"{path}: callers.{owners[each]} and callers.{name} share a token or a certificate")


def _refuse_unknown(keys: Iterable[Any], known: Iterable[str], where: str, what: str = "key") -> None:
    known = list(known)
    for key in keys:
        if key not in known:
            near = get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"
            raise BadInput(f"{where}: {key!r} is no {what}; {hint}")
