"""Where the time of a handler goes, from the server's own histograms: what they counted while something ran."""

import http.client
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from opportune.readiness import Place

_NAME = "opportune_stage_seconds"
WHOLE = "all"


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Mean time of each stage of Score, in µs, the whole handler last; and the median of the whole handler.

    The median is interpolated within its bucket of the histogram.
    """

    mean_us: dict[str, float]
    handler_median_us: float


def stage_times(place: Place, run: Callable[[], object]) -> StageTimes:
    """What a server counted while `run` ran."""
    before = _read(place)
    run()
    return difference(before, _read(place))


Samples = dict[tuple[str, str, str], float]


def difference(before: Samples, after: Samples) -> StageTimes:
    """The stage times between two readings.

    >>> one = {("sum", "all", ""): 0.5, ("count", "all", ""): 500.0, ("bucket", "all", "0.002"): 500.0}
    >>> difference({}, one)
    StageTimes(mean_us={'all': 1000.0}, handler_median_us=1000.0)
    """
    counted = {key: value - before.get(key, 0.0) for key, value in after.items()}
    means = {
        stage: counted["sum", stage, ""] / count * 1e6
        for (what, stage, _), count in counted.items()
        if what == "count" and count
    }
    whole = means.pop(WHOLE)
    buckets = sorted(
        (float(end), value) for (what, stage, end), value in counted.items() if what == "bucket" and stage == WHOLE
    )
    return StageTimes({**means, WHOLE: whole}, _median_s(buckets) * 1e6)


def _median_s(buckets: list[tuple[float, float]]) -> float:
    """The median of cumulative counts by the end of their bucket."""
    half = buckets[-1][1] / 2
    start, below = 0.0, 0.0
    for end, upto in buckets:
        if upto >= half:
            return start + (end - start) * (half - below) / (upto - below)
        start, below = end, upto
    raise AssertionError("the last bucket holds everything")


def _read(place: Place) -> Samples:
    connection = http.client.HTTPConnection(place.host, place.metrics_port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return {
        (sample.name.removeprefix(f"{_NAME}_"), sample.labels["stage"], sample.labels.get("le", "")): sample.value
        for family in text_string_to_metric_families(text)
        if family.name == _NAME
        for sample in family.samples
        if sample.labels["method"] == "Score"
    }
