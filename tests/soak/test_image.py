"""What deploy/Dockerfile makes, run in a plain virtual environment: no root, no home, nothing to write but /state."""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.image import ROOT, Image
from tests.soak.running import free_port

pytestmark = pytest.mark.soak
TOKEN = "a-token-of-a-test-0123456789"
PYTHONS = ("/usr/local/bin/python3", "/usr/bin/python3")
STARTS_WITHIN_S = 120
TEACHER = "def label(text):\n    return 'payments'\n"


def python_for_all() -> Path:
    """A Python that another user may run, and that makes virtual environments."""
    for name in filter(os.path.exists, PYTHONS):
        works = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
        if subprocess.run([name, "-c", works], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return Path(name)
    pytest.skip(f"none of {', '.join(PYTHONS)} makes virtual environments (Debian: apt-get install python3-venv)")


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image, installed; its root folder may be entered by everybody, which those of pytest may not."""
    if os.geteuid() != 0:
        pytest.skip("only root can run a command as another user")
    folder = Path(tempfile.mkdtemp(prefix="monoku-image-"))
    folder.chmod(0o755)
    made = Image(folder, python_for_all())
    try:
        made.build((ROOT / "deploy/Dockerfile").read_text())
        yield made
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def model(image: Image, tiny_home: Path) -> Path:
    """The tiny model as /models/support, and a teacher, both of root and read-only for all others."""
    home = image.folder / "models/support"
    shutil.copytree(tiny_home, home, dirs_exist_ok=True)
    (image.folder / "opt/given_teacher.py").write_text(TEACHER)
    for path in [home, *home.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return home


def ask(port: int, path: str, given: object = None) -> tuple[int, str]:
    body = None if given is None else json.dumps(given).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)) as reply:
        return reply.status, reply.read().decode()


def wait_until_up(port: int, service: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and service.poll() is None:
        with contextlib.suppress(OSError):
            ask(port, "/healthz")
            return
        time.sleep(0.1)
    raise AssertionError(f"it did not start: {log.read_text(errors='replace')[-3000:]}")


@contextlib.contextmanager
def serving(image: Image, *flags: str) -> Iterator[int]:
    """The image's own command on a free port of 127.0.0.1: of two equal flags the last counts."""
    port, log = free_port(), image.folder / "log"
    command = [*image.command, "--host", "127.0.0.1", "--port", str(port), *flags]
    with image.start(command, MONOKU_TOKEN=TOKEN, PYTHONPATH=str(image.folder / "opt")) as service:
        try:
            wait_until_up(port, service, log)
            yield port
            service.terminate()
            assert service.wait(60) == 0, log.read_text()
        finally:
            service.kill()


def is_healthy(image: Image, port: int) -> bool:
    """What the health check of the image says."""
    command = [word.replace(":8000", f":{port}") for word in image.check]
    with image.start(command) as check:
        return check.wait(60) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_image_serves_without_root_without_a_home_and_writes_to_state_alone(
    image: Image, model: Path, workers: str
) -> None:
    given = {"text": "undo the refund please"}
    with serving(image, "--teacher", "python:given_teacher:label", "--workers", workers) as port:
        assert ask(port, "/healthz")[0] == ask(port, "/readyz")[0] == 200
        answered = json.loads(ask(port, "/classify", given)[1])
        assert ask(port, "/feedback", {"id": answered["id"], "intent": "payments", **given})[0] == 204
        assert json.loads(ask(port, "/classify", {"text": "zyx wvu 4711"})[1])["intent"]
        assert ask(port, "/page")[0] == ask(port, "/metrics")[0] == 200
        printed = (image.folder / "log").read_text()
        assert is_healthy(image, port)
    written = image.written()
    assert str(image.folder / "state/decisions.db") in written
    allowed = tuple(str(image.folder / name) for name in ("state", "tmp"))
    assert {path for path in written if not path.startswith(allowed)} == set()
    assert "Traceback" not in printed


def test_nothing_of_the_image_but_state_and_tmp_may_be_written_by_its_user(image: Image, model: Path) -> None:
    assert image.user != 0
    places = {image.folder / "state", image.folder / "tmp"}
    paths = [path for path in image.folder.rglob("*") if not path.is_symlink() and not places & {path, *path.parents}]
    found = [(path, path.stat()) for path in paths]
    assert [path for path, its in found if its.st_uid == image.user or its.st_mode & stat.S_IWOTH] == []


def test_the_health_check_fails_where_nothing_serves(image: Image) -> None:
    assert not is_healthy(image, free_port())
