"""What the score benchmark computes from what it saw."""

import os
import subprocess
import sys

import pyarrow as pa
import pytest

from behavior.event import DAY_US
from deployment.archive import EVENTS
from tests.benchmarks.costs import cpu_us, family
from tests.benchmarks.present import moved, weeks_until
from tests.benchmarks.score import CANDIDATES, REQUESTS, drawn
from tests.benchmarks.stage_times import difference

_BURN = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"


def test_the_cpu_of_children_belongs_to_a_server() -> None:
    """A server's workers are charged to it: what a child burns shows in the family's time, to the clock tick."""
    before = cpu_us(os.getpid())
    with subprocess.Popen([sys.executable, "-c", _BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in family(os.getpid())
        assert cpu_us(child.pid) >= 280_000
        assert cpu_us(os.getpid()) - before >= 280_000
        child.communicate(b"\n")
    assert cpu_us(child.pid) == 0


def test_stages_are_what_was_counted_in_between() -> None:
    """Means and the median of the calls between two readings, not of those before."""
    ends = ("0.001", "0.002", "+Inf")
    before = {("sum", "all", ""): 9.0, ("count", "all", ""): 3.0} | {("bucket", "all", end): 3.0 for end in ends}
    after = {
        ("sum", "all", ""): 9.6,
        ("count", "all", ""): 403.0,
        ("sum", "model", ""): 0.2,
        ("count", "model", ""): 400.0,
    }
    after |= {("bucket", "all", end): 3.0 + count for end, count in zip(ends, (100.0, 300.0, 400.0), strict=True)}
    found = difference(before, after)
    assert found.mean_us == pytest.approx({"model": 500.0, "all": 1500.0})
    assert found.handler_median_us == pytest.approx(1500.0)  # half of the calls lie half-way through the second bucket


def test_the_year_moves_by_whole_weeks() -> None:
    """Every instant of an event by the same span, so that hours, weekdays and their order stay."""
    by_us = weeks_until(now=20 * DAY_US + 5, today=3 * DAY_US)
    assert by_us == 14 * DAY_US
    columns = {name: [index] for index, name in enumerate(("e", "k", "client_time"), 1)}
    table = EVENTS.empty_table().select(["user_id", *columns])
    table = pa.table({"user_id": ["u"], **columns}, schema=table.schema)
    assert moved(table, by_us).to_pylist() == [
        {"user_id": "u", "e": by_us + 1, "k": by_us + 2, "client_time": by_us + 3}
    ]
    assert moved(table, by_us).schema == table.schema


def test_requests_are_drawn_anew_and_alike_each_time() -> None:
    """Candidates differ from request to request, none twice in one, and two runs ask for the same."""
    names = [f"c{number}" for number in range(300)]
    requests = drawn(["a", "b"], names)
    asked = [tuple(each.id for each in request.candidates) for request in requests]
    assert len(set(asked)) == REQUESTS
    assert all(len(set(each)) == CANDIDATES for each in asked)
    assert {each for one in asked for each in one} == set(names)
    assert requests == drawn(["a", "b"], names)
