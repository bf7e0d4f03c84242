"""What learners are given: what came of one thing that was shown, in the context that it was shown in."""

import msgspec


class Example(msgspec.Struct, frozen=True, gc=False):
    """What came of one thing that was shown, as learners take it.

    request_id, user_id   the answer, and whose it was (a pseudonym)
    persona      the user's when it was shown; empty where there was none
    placement    where; empty where none was said
    position     where it stood, from 1
    kind, id, category    of the thing: `category` or `item`; a category's category is itself
    daypart, weekday, device, page   the context it was shown in, as words; empty where not known
    t            the event time of the label, µs: of the outcome, else the end of the window
    margin       what the model believed, in logits: the offset that learners correct
    outcome      the kind of event that came of it; empty: nothing in time
    reward       what that adds to what this thing has earned so far, 0 to 1
    is_trial     whether this is the first example of this shown thing
    label        whether the learned outcome came: True, False at the end of the window; None: another outcome came
    """

    request_id: str
    user_id: str
    persona: str
    placement: str
    position: int
    kind: str
    id: str
    category: str
    daypart: str
    weekday: str
    device: str
    page: str
    t: int
    margin: float
    outcome: str
    reward: float
    is_trial: bool
    label: bool | None
