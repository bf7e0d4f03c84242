"""`opportune key`: the secrets of a deployment."""

from behavior.errors import BadInput
from deployment.pseudonym import make_key
from deployment.sealing import make_sealing_key
from deployment.settings import load


def key() -> None:
    """Make the secret keys where the settings `key_file` and `sealing_key_file` say, those that are not there yet.

    One turns raw user ids into pseudonyms: keep a copy in a safe place, without it nobody can be recognised again. The
    other seals rejected events while they are kept. Only their owner can read the files, and an existing key is never
    replaced.
    """
    settings = load()
    files = {settings.key_file: make_key, settings.sealing_key_file: make_sealing_key}
    missing = [file for file in files if not file.exists()]
    if not missing:
        raise BadInput(f"{' and '.join(map(str, files))} exist already; a new key would orphan what was made with it")
    for file in missing:
        files[file](file)
        print(f"made {file}; keep a copy in a safe place")
