"""Files of secret keys: one line, `<key id>:<hexadecimal digits>`, that only its owner can read."""

import os
import re
import secrets
from pathlib import Path

from behavior.errors import BadInput

_KEY_BYTES = 32
_LINE = re.compile(r"(?P<id>[a-z0-9]{1,8}):(?P<hex>(?:[0-9a-f]{2})+)")


def read_key(path: Path, what: str) -> tuple[str, bytes]:
    """The key's id and its bytes, at least 32.

    Raises BadInput, naming `what` key it is, if the file is missing, readable by others, or not of that form.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise BadInput(f"the {what} key {path} can be read by others; run `chmod 600` on it")
        line = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise BadInput(f"there is no {what} key at {path}; make one with `opportune key`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the {what} key {path} cannot be read: {type(error).__name__}") from None
    match = _LINE.fullmatch(line)
    if match is None or len(match["hex"]) < 2 * _KEY_BYTES:
        raise BadInput(
            f"{path} is no {what} key; it must hold one line `<key id>:<{2 * _KEY_BYTES} or more hexadecimal digits>`"
        )
    return match["id"], bytes.fromhex(match["hex"])


def write_key(path: Path, key_id: str, otherwise: str) -> None:
    """Write a new random key; raises BadInput that says what `otherwise` would happen if the file exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BadInput(f"{path} exists already; {otherwise}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{key_id}:{secrets.token_hex(_KEY_BYTES)}\n")
