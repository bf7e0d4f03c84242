"""The metrics of several workers on one page: each sample as its worker says it, with the label `worker`.

Sums over the label are the server's: `sum without (worker) (rate(opportune_requests_total[1m]))`. A worker that was
started again begins at 0, as any process does; one that drains is not shown any more.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


def labelled(pages: Mapping[str, str]) -> list[Metric]:
    r"""The pages by worker as one: families by name, each sample with its worker.

    >>> page = "# TYPE n gauge\nn 2.0\n"
    >>> [(sample.labels, sample.value) for sample in labelled({"0": page, "1": page})[0].samples]
    [({'worker': '0'}, 2.0), ({'worker': '1'}, 2.0)]
    """
    families: dict[str, Metric] = {}
    for worker, page in pages.items():
        for family in text_string_to_metric_families(page):
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            merged.samples.extend(
                sample._replace(labels={**sample.labels, "worker": worker}) for sample in family.samples
            )
    return list(families.values())


class WorkerMetrics(Collector):
    """Asks the workers when Prometheus asks; `pages` gives what each says now, by worker."""

    def __init__(self, pages: Callable[[], Mapping[str, str]]) -> None:
        self._pages = pages

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: the workers may not run yet."""
        return []

    def collect(self) -> Iterable[Metric]:
        """What they say now."""
        return labelled(self._pages())
