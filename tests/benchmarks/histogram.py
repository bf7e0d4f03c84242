"""Latencies in buckets that grow by 1 %: as many as come, in little memory, every percentile within 1 %."""

import math
from collections.abc import Mapping

GROWTH = 1.01
_LOG_GROWTH = math.log(GROWTH)


class Histogram:
    """Counts of latencies by bucket; bucket b holds what lies in (1.01^(b-1), 1.01^b] µs, everything up to 1 µs in 0.

    >>> histogram = Histogram()
    >>> for latency_us in (100.0, 200.0, 300.0, 4000.0):
    ...     histogram.add(latency_us)
    >>> [round(histogram.percentile(share), -1) for share in (50, 100)]
    [200.0, 4000.0]
    """

    def __init__(self, counts: Mapping[int, int] | None = None, greatest_us: float = 0.0) -> None:
        self.counts: dict[int, int] = dict(counts or {})
        self.greatest_us = greatest_us

    def __len__(self) -> int:
        """How many latencies."""
        return sum(self.counts.values())

    def add(self, latency_us: float) -> None:
        """Count one latency."""
        bucket = math.ceil(math.log(latency_us) / _LOG_GROWTH) if latency_us > 1.0 else 0
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.greatest_us = max(self.greatest_us, latency_us)

    def percentile(self, share: float) -> float:
        """The least bucket's end in µs below or at which `share` percent of the latencies lie, at most the greatest.

        NaN of no latencies.
        """
        wanted = max(1, math.ceil(len(self) * share / 100.0))
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return min(GROWTH**bucket, self.greatest_us)
        return math.nan
