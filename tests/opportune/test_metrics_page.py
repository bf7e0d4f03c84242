"""The list of metrics is what the processes tell, and keeps Prometheus' conventions."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from opportune.metrics_page import BOUNDS, reference, told

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def test_the_page_is_up_to_date() -> None:
    """`docs/reference/metrics.md` is what `make reference` writes."""
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `make reference`"


def test_every_metric_of_the_source_is_in_the_list() -> None:
    """No module tells Prometheus something that the list does not know."""
    source = Path(__file__).parents[2] / "src"
    found = {name for path in source.rglob("*.py") for name in re.findall(r'"(opportune_[a-z_]+)"', path.read_text())}
    listed = {each.name.removesuffix("_total") for each in told()}
    assert {name.removesuffix("_total") for name in found} <= listed
    assert len(listed) > 50


def test_every_label_has_a_bound() -> None:
    """Each label that is used says what its values are, and no other does."""
    assert {label for each in told() for label in each.labels} == set(BOUNDS)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of the package prometheus")
def test_names_and_helps_keep_the_conventions_of_prometheus() -> None:
    """`promtool check metrics` has nothing to say."""
    page = "".join(
        f"# HELP {each.name} {each.help}\n# TYPE {each.name} {each.type}\n{_sample(each.name, each.type)}\n"
        for each in told()
    )
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), done.stdout + done.stderr


def _sample(name: str, kind: str) -> str:
    return f'{name}_bucket{{le="+Inf"}} 0\n{name}_sum 0\n{name}_count 0' if kind == "histogram" else f"{name} 0"
