import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.bundle.manifest import CURRENT, read_manifest, seal
from inference.common.fork import notice
from inference.serving.policy import Policy
from inference.serving.watch import Watch
from tests.forks import holds_in_child, needs_fork
from tests.logged import wait_until

NEWER = "29990101T000000Z-00000000"


@pytest.fixture
def home(tiny_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_home, tmp_path / "tiny"))


@pytest.fixture
def watch(home: Path) -> Iterator[Watch]:
    watch = Watch(home, Policy(), every_s=0.02)
    yield watch
    watch.stop()


def serving(home: Path) -> str:
    return (home / CURRENT).read_text().strip()


def publish(home: Path, **values: object) -> Path:
    """A newer version with an answer of its own, and the pointer to it."""
    newer, made = home / NEWER, home.parent / "made"
    shutil.rmtree(newer, ignore_errors=True)
    (first,) = home.glob("*/manifest.json")
    shutil.copytree(first.parent, made)
    manifest = read_manifest(made)
    (made / "manifest.json").unlink()
    seal(made, replace(manifest, files={}, **{"temperature": 7.0, **values}))  # type: ignore[arg-type]
    made.rename(newer)  # complete, as a version is published: the copy without its new manifest would be served too
    (home / CURRENT).write_text(NEWER)
    return newer


def temperature(watch: Watch) -> float:
    assert watch.tier is not None
    return watch.tier.classifier.bundle.manifest.temperature


def test_a_newer_bundle_is_served_and_an_older_one_again(watch: Watch, home: Path) -> None:
    first, before = serving(home), temperature(watch)
    watch.worker.start()
    publish(home)
    wait_until(lambda: temperature(watch) == 7.0)
    (home / CURRENT).write_text(first)
    wait_until(lambda: temperature(watch) == before)
    assert watch.refused is None


def test_a_version_that_is_not_there_yet_is_served_once_it_is(watch: Watch, home: Path) -> None:
    newer = publish(home)
    newer.rename(home / "on its way")
    watch.worker.start()
    wait_until(lambda: watch.refused is not None)
    (home / "on its way").rename(newer)
    wait_until(lambda: temperature(watch) == 7.0)
    assert watch.refused is None


def test_a_file_that_could_not_be_read_for_a_while_is_read_later(watch: Watch, home: Path) -> None:
    model = publish(home) / "model.onnx"
    content, times = model.read_bytes(), model.stat()
    model.unlink()
    model.mkdir()  # not readable, whoever asks
    watch.worker.start()
    wait_until(lambda: watch.worker.state()["failures"] >= 2)
    assert "model.onnx" in str(watch.refused)
    model.rmdir()
    model.write_bytes(content)
    os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns))
    wait_until(lambda: temperature(watch) == 7.0)
    assert watch.refused is None


def test_a_pointer_of_garbage_is_refused_until_it_is_mended(watch: Watch, home: Path) -> None:
    publish(home)
    (home / CURRENT).write_bytes(b"\xff\xfe\x00garbage")
    watch.worker.start()
    wait_until(lambda: watch.refused is not None)
    (home / CURRENT).write_text(NEWER)
    wait_until(lambda: temperature(watch) == 7.0)


def test_a_manifest_that_nobody_thought_of_ends_nothing(watch: Watch, home: Path) -> None:
    publish(home, max_tokens=2**70)
    watch.worker.start()
    wait_until(lambda: watch.worker.state()["failures"])
    assert watch.refused
    publish(home)
    wait_until(lambda: temperature(watch) == 7.0)
    assert watch.refused is None


def test_what_is_refused_for_its_content_is_not_loaded_again_before_that_changes(watch: Watch, home: Path) -> None:
    model = publish(home) / "model.onnx"
    content, times = model.read_bytes(), model.stat()
    model.write_bytes(content[:-1] + b"?")
    os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns))
    watch.look()
    assert "altered" in str(watch.refused)
    model.write_bytes(content)
    os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns))
    watch.look()
    assert "altered" in str(watch.refused)
    os.utime(model)
    watch.look()
    assert (watch.refused, temperature(watch)) == (None, 7.0)


def test_other_intents_than_the_teachers_know_are_refused(watch: Watch, home: Path) -> None:
    watch.names = ("another",)
    before = temperature(watch)
    publish(home)
    watch.look()
    assert "other intents" in str(watch.refused)
    assert temperature(watch) == before


def _without_model(newer: Path) -> None:
    (newer / "model.onnx").unlink()


def _garbled_manifest(newer: Path) -> None:
    (newer / "manifest.json").write_bytes(b"\xff{")


def _half_a_model(newer: Path) -> None:
    content = (newer / "model.onnx").read_bytes()
    (newer / "model.onnx").write_bytes(content[: len(content) // 2])


def _gone(newer: Path) -> None:
    shutil.rmtree(newer)


def _garbled_pointer(newer: Path) -> None:
    (newer.parent / CURRENT).write_bytes(b"\xff\x00")


def _no_pointer(newer: Path) -> None:
    (newer.parent / CURRENT).unlink()


FAULTS = [_without_model, _garbled_manifest, _half_a_model, _gone, _garbled_pointer, _no_pointer]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=3), looks=st.integers(1, 2))
def test_whatever_was_wrong_with_a_version_it_is_served_once_that_is_mended(
    faults: list[Callable[[Path], None]], looks: int, tiny_home: Path
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(shutil.copytree(tiny_home, Path(folder) / "tiny"))
        watch = Watch(home, Policy())
        before = temperature(watch)
        for fault in faults:
            fault(publish(home))
            for _ in range(looks):
                with contextlib.suppress(Exception):  # the worker notes it and tries again
                    watch.look()
            assert temperature(watch) == before
        publish(home)
        watch.look()
        assert (watch.refused, temperature(watch)) == (None, 7.0)


@needs_fork
def test_a_child_that_was_forked_while_its_parent_loads_or_refuses_serves_the_new_version(
    watch: Watch, home: Path
) -> None:
    newer = publish(home)
    model = (newer / "model.onnx").read_bytes()
    _half_a_model(newer)
    watch.look()
    assert watch.refused

    def check() -> bool:
        notice()
        (newer / "model.onnx").write_bytes(model)
        return watch.worker.start() and wait_until(lambda: temperature(watch) == 7.0) is None

    assert holds_in_child(os.fork, check)


@needs_fork
def test_a_child_watches_for_itself(watch: Watch, home: Path) -> None:
    watch.worker.start()

    def check() -> bool:
        notice()
        publish(home)
        return watch.worker.start() and wait_until(lambda: temperature(watch) == 7.0) is None

    assert holds_in_child(os.fork, check)
