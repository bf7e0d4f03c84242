"""Alerts, their pages, their tests and the dashboards belong together, and name only metrics that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from opportune.metrics_page import told

ROOT = Path(__file__).parents[2]
DEPLOY, RUNBOOK = ROOT / "deploy", ROOT / "docs" / "runbook"
RULES = DEPLOY / "alerts" / "opportune.yml"
UNIT_TESTS = DEPLOY / "alerts" / "tests" / "rules.yml"
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: install prometheus")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def metrics_in(expression: str) -> set[str]:
    """The names of our metrics, and of what is recorded, in an expression; names by pattern are looked for whole."""
    pattern = re.search(r'__name__=~"opportune_\(([a-z|]+)\)([a-z_]+)"', expression)
    by_pattern = {f"opportune_{each}{pattern[2]}" for each in pattern[1].split("|")} if pattern else set()
    return set(re.findall(r"\bopportune[_:][a-z0-9_:]+[a-z0-9]", expression)) | by_pattern


def known() -> set[str]:
    return {name for each in told() for name in each.series} | {rule["record"] for rule in rules() if "record" in rule}


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    """The runbook's pages are the alerts, and each is where its alert says."""
    assert {path.stem for path in RUNBOOK.glob("*.md")} - {"README"} == set(alerts())
    for name, alert in alerts().items():
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["runbook"] == f"docs/runbook/{name}.md"
        assert f"]({name}.md)" in (RUNBOOK / "README.md").read_text()


def test_rules_name_only_metrics_that_there_are() -> None:
    """No rule waits for ever for a metric that nobody exposes."""
    for rule in rules():
        assert metrics_in(rule["expr"]) <= known(), rule
    assert "opportune_no_such_metric" not in known()


def test_dashboards_show_only_metrics_that_there_are() -> None:
    """Every panel of every dashboard has expressions on metrics of the list."""
    boards = list((DEPLOY / "grafana").glob("*.json"))
    assert len(boards) >= 3
    for board in boards:
        for panel in json.loads(board.read_text())["panels"]:
            assert panel["targets"]
            for target in panel["targets"]:
                names = metrics_in(target["expr"])
                assert names <= known(), (board.name, panel["title"], names - known())
                assert names or "process_resident_memory_bytes" in target["expr"]


def test_every_alert_is_seen_to_fire_and_to_resolve() -> None:
    """In promtool's tests each alert is expected at one instant, and none at a later one."""
    seen: dict[str, list[bool]] = {}
    for test in yaml.safe_load(UNIT_TESTS.read_text())["tests"]:
        for step in test["alert_rule_test"]:
            seen.setdefault(step["alertname"], []).append(bool(step["exp_alerts"]))
    assert seen == {name: [True, False] for name in alerts()}


def test_only_alerts_that_there_are_silence_each_other() -> None:
    """Alertmanager's rules of inhibition name alerts of the list."""
    for rule in yaml.safe_load((DEPLOY / "alertmanager.yml").read_text())["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            assert set(matcher.split('"')[1].split("|")) <= set(alerts()), matcher


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", str(RULES)),
        ("test", "rules", str(UNIT_TESTS)),
        ("check", "config", str(DEPLOY / "prometheus.yml")),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    """Rules and configuration are valid, and every alert fires and resolves on made-up series."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
