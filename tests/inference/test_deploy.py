"""What lies in deploy/: it must speak of the metrics that the service has."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from inference.service.figures import METRICS
from inference.service.metrics import PREFIX

DEPLOY = Path("deploy")
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
LABELS = {
    f"{PREFIX}{metric.name}{ending}": {*metric.labels, *(("le",) if ending == "_bucket" else ())}
    for metric in METRICS
    for ending in ENDINGS[metric.kind]
}
BOARD = json.loads((DEPLOY / "grafana.json").read_text())
RULES = [rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
SHOWN = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]


def wrong(expression: str) -> list[str]:
    """The metrics that the service does not have, and labels that none of the expression's metrics has."""
    names = set(re.findall(rf"\b{PREFIX}\w+", expression))
    labels = set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", expression))
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        labels |= {label.strip() for label in group.split(",")}
    known = set().union(*(LABELS.get(name, set()) for name in names))
    return sorted(names - set(LABELS)) + sorted(labels - known)


@pytest.mark.parametrize("expression", [*SHOWN, *(rule["expr"] for rule in RULES)])
def test_every_metric_and_label_is_one_of_the_services(expression: str) -> None:
    assert PREFIX in expression
    assert wrong(expression) == []


def test_a_metric_or_a_label_that_does_not_exist_is_found() -> None:
    assert wrong('sum by (intent) (monoku_requests{state="x"}) + monoku_spent_usd_total') == [
        "monoku_requests", "monoku_spent_usd_total", "intent", "state",
    ]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["action"]) > 40


def test_the_commands_that_alerts_name_exist() -> None:
    commands = {found for rule in RULES for found in re.findall(r"python -m ([\w.]+)", rule["annotations"]["action"])}
    assert commands
    assert [name for name in commands if not Path(name.replace(".", "/") + ".py").is_file()] == []


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    shown = set(re.findall(rf"\b{PREFIX}\w+", " ".join([*SHOWN, *(rule["expr"] for rule in RULES)])))
    missing = [m.name for m in METRICS if not {f"{PREFIX}{m.name}{end}" for end in ENDINGS[m.kind]} & shown]
    assert missing == []
