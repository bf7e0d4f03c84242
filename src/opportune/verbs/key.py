"""`opportune key`: the secrets of a deployment."""

import os
import secrets
from hashlib import sha256
from pathlib import Path

from behavior.errors import BadInput
from deployment.pseudonym import make_key
from deployment.sealing import make_sealing_key
from deployment.settings import load


def key(*, caller: str | None = None) -> None:
    """Make the secret keys where the settings `key_file` and `sealing_key_file` say, those that are not there yet.

    One turns raw user ids into pseudonyms: keep a copy in a safe place, without it nobody can be recognised again. The
    other seals rejected events while they are kept. Only their owner can read the files, and an existing key is never
    replaced.

    Parameters
    ----------
    caller
        Make a token for this caller of the server instead, in <home>/<caller>.token, and print what belongs into the
        access file. The token itself is shown nowhere.
    """
    settings = load()
    if caller is not None:
        _make_token(settings.home, caller)
        return
    files = {settings.key_file: make_key, settings.sealing_key_file: make_sealing_key}
    missing = [file for file in files if not file.exists()]
    if not missing:
        raise BadInput(f"{' and '.join(map(str, files))} exist already; a new key would orphan what was made with it")
    for file in missing:
        files[file](file)
        print(f"made {file}; keep a copy in a safe place")


def _make_token(home: Path, caller: str) -> None:
    from scoring.access import is_name

    if not is_name(caller):
        raise BadInput(f"{caller!r} is no caller's name; it has 1 to 64 lower-case letters, digits, - and _")
    home.mkdir(parents=True, exist_ok=True)
    file = home / f"{caller}.token"
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BadInput(f"{file} exists already; move it away once its caller has a new one") from None
    token = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w", encoding="ascii") as writing:
        writing.write(f"{token}\n")
    print(f"# made {file}; give it to the caller, and put this into the access file")
    print(f'[callers.{caller}]\ntoken_sha256 = ["{sha256(token.encode()).hexdigest()}"]\nmay = ["score", "track"]')
