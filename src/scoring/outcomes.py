"""What counts as an outcome of something that was shown: the kinds, what they earn, how long they are waited for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from behavior.event import HOUR_US
from deployment.settings import Settings

# The kind of event that says that something was seen.
IMPRESSION = "impression"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a deployment declares about outcomes.

    window_us     how long after it was shown something can have an outcome
    horizon_us    how late an event can be admitted: answers are remembered for that much longer, to count late outcomes
    rewards       what each kind of outcome earns, 0 to 1; no other kind of event is an outcome
    learned       the kind whose probability the margins state
    is_seen_assumed   whether all that was shown counts as seen, without an impression
    """

    window_us: int
    horizon_us: int
    rewards: Mapping[str, float]
    learned: str
    is_seen_assumed: bool

    @classmethod
    def declared(cls, settings: Settings) -> Self:
        """What the settings say."""
        return cls(
            window_us=settings.attribution_window_h * HOUR_US,
            horizon_us=settings.lateness_horizon_h * HOUR_US,
            rewards=settings.rewards,
            learned=settings.learned_outcome,
            is_seen_assumed=settings.impressions == "assumed",
        )
