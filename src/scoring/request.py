"""A question to the scorer, checked and behind a pseudonym: what the rooms of the request path are given."""

from collections.abc import Mapping

import msgspec

from behavior.served import CATEGORY

MAX_CANDIDATES = 1000


class ScoreRequest(msgspec.Struct, frozen=True):
    """A question.

    user_id       the pseudonym
    ids           what is to be ranked, each once; empty for what the placement offers
    placement     where the answer will be shown; None for the default placement
    utc_offset_s  the user's offset at the moment in seconds east of Greenwich, if stated; else `zone`, an IANA name
    top_k         how many to answer, 0 for all
    explain       whether the features that the model saw are asked for
    kind          what `ids` name: `category` or `item`
    categories    {item: category} where the caller says what an item belongs to
    device, page  the moment's, empty where not known
    """

    user_id: str
    ids: tuple[str, ...] = ()
    placement: str | None = None
    utc_offset_s: int | None = None
    zone: str | None = None
    top_k: int = 0
    explain: bool = False
    kind: str = CATEGORY
    categories: Mapping[str, str] = msgspec.field(default_factory=dict)
    device: str = ""
    page: str = ""
