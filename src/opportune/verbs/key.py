"""`opportune key`: the secret that turns user ids into pseudonyms."""

from deployment.pseudonym import make_key
from deployment.settings import load


def key() -> None:
    """Make the secret key that turns raw user ids into pseudonyms, where the setting `key_file` says.

    Only its owner can read the file. Keep a copy in a safe place: without it nobody can be recognised again. An
    existing key is never replaced.
    """
    settings = load()
    make_key(settings.key_file)
    print(f"made {settings.key_file}; keep a copy in a safe place")
