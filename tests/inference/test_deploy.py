"""What lies in deploy/: it must speak of the metrics, commands and settings that exist."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

import inference.serve
import training.refresh
from inference.service.door import OPEN
from inference.service.figures import METRICS
from inference.service.metrics import PREFIX
from inference.service.settings import read_token
from inference.serving.policy import Policy

DEPLOY = Path("deploy")
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
LABELS = {
    f"{PREFIX}{metric.name}{ending}": {*metric.labels, *(("le",) if ending == "_bucket" else ())}
    for metric in METRICS
    for ending in ENDINGS[metric.kind]
}
BOARD = json.loads((DEPLOY / "grafana.json").read_text())
RULES = [rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
COMPOSED = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
MANIFESTS = {path.stem: yaml.safe_load(path.read_text()) for path in (DEPLOY / "kubernetes").glob("*.yaml")}
SERVES = MANIFESTS["deployment"]["spec"]["template"]["spec"]
REFRESHES = MANIFESTS["refresh"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
PARSERS = {"inference.serve": inference.serve._parser(), "training.refresh": training.refresh._parser()}
IMAGE_RUNS = json.loads(re.findall(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)[-1])
COMMANDS = [
    IMAGE_RUNS,
    *(COMPOSED[name]["command"].split() for name in ("monoku", "refresh")),
    *(pod["containers"][0]["command"] + pod["containers"][0]["args"] for pod in (SERVES, REFRESHES)),
]
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


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[2])
def test_every_command_line_is_one_that_its_command_takes(command: list[str]) -> None:
    assert command[:2] == ["python", "-m"]
    PARSERS[command[2]].parse_args(command[3:])


def test_every_variable_is_a_setting() -> None:
    given = set(COMPOSED["monoku"]["environment"]) | {variable["name"] for variable in SERVES["containers"][0]["env"]}
    given |= set(re.findall(r"\bMONOKU_\w+(?==)", (DEPLOY / "Dockerfile").read_text()))
    known = {f"MONOKU_{field.name.upper()}" for field in fields(Policy)} | {"MONOKU_TOKEN"}
    assert {name for name in given if name.startswith("MONOKU_")} <= known


@pytest.mark.parametrize("pod", [SERVES, REFRESHES], ids=["serves", "refreshes"])
def test_pods_run_as_nobody_in_particular_and_read_only(pod: dict[str, Any]) -> None:
    user = re.search(r"^USER (\d+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, int(user[1]))
    container = pod["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/models", "/state", "/tmp"}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_a_refresh_that_hangs_does_not_keep_the_next_ones_from_starting() -> None:
    job = MANIFESTS["refresh"]["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    assert job["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 24 * 3600


def test_probes_ask_paths_that_need_no_token() -> None:
    container = SERVES["containers"][0]
    asked = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == set(OPEN)


def test_the_example_of_a_secret_holds_none_and_starts_nothing() -> None:
    values = MANIFESTS["secret.example"]["stringData"]
    assert set(values.values()) == {"REPLACE"}
    with pytest.raises(ValueError, match="at least 16"):
        read_token(None, values)
