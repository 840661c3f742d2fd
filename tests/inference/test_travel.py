"""Bundles on shared storage: pushed and fetched whole or not at all."""

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from inference.bundle.manifest import CURRENT, MANIFEST, Bundle, BundleError
from inference.bundle.travel import cache_of, fetch, push
from inference.cascade import Cascade
from inference.classifier import Classifier
from inference.serving.policy import Policy
from inference.serving.watch import Watch
from training.publish import main

SECOND = "20991231T000000Z-0123abcd"


class Failing(MemoryFileSystem):
    """A storage that takes so many writes, and then none."""

    protocol = "failing"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    left = 1_000

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("failing://", "memory://")))

    def pipe_file(self, path: str, value: bytes, **arguments: Any) -> None:
        Failing.left -= 1
        if Failing.left < 0:
            raise ConnectionResetError("the storage went away")
        super().pipe_file(path, value, **arguments)


fsspec.register_implementation("failing", Failing, clobber=True)


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Failing.store.clear()
    Failing.left = 1_000


@pytest.fixture
def home(tiny_home: Path, tmp_path: Path) -> Path:
    """A model with one version, and a second one that does not serve yet."""
    home = Path(shutil.copytree(tiny_home, tmp_path / "models" / "tiny"))
    shutil.copytree(Bundle.load(home).root, home / SECOND)
    return home


def serve_second(home: Path) -> None:
    (home / CURRENT).write_text(SECOND + "\n")


URL = "failing://bucket/models/tiny"


def test_what_was_pushed_answers_elsewhere_as_here(home: Path) -> None:
    version = push(home, URL)
    assert Bundle.load(home).root.name == version
    there, here = Classifier.load(URL), Classifier.load(home)
    assert there.bundle.root.is_relative_to(cache_of(URL))
    assert there.predict("refund the invoice") == here.predict("refund the invoice")


def test_a_push_that_breaks_off_anywhere_leaves_the_version_of_before(home: Path) -> None:
    first = push(home, URL)
    serve_second(home)
    for writes in range(len(Bundle.load(home).manifest.files) + 2):
        Failing.left = writes
        with pytest.raises(BundleError, match="cannot be written: ConnectionResetError"):
            push(home, URL)
        shutil.rmtree(cache_of(URL), ignore_errors=True)
        assert Bundle.load(fetch(URL)).root.name == first
        Failing.store.pop(f"/bucket/models/tiny/{SECOND}/{MANIFEST}", None)
    Failing.left = 1_000
    assert push(home, URL) == SECOND
    assert Bundle.load(fetch(URL)).root.name == SECOND


def test_two_that_push_at_once_leave_one_whole_version(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = Bundle.load(home).root.name, Path(shutil.copytree(home, home.parent / "other"))
    serve_second(other)
    usual, met = Failing.pipe_file, list[str]()

    def interleaved(self: Failing, path: str, value: bytes, **arguments: Any) -> None:
        usual(self, path, value, **arguments)
        if not met:
            met.append("begun")
            met.append(push(other, URL))  # the whole of the other push, while the first is at its first file

    monkeypatch.setattr(Failing, "pipe_file", interleaved)
    push(home, URL)
    assert met == ["begun", SECOND]
    assert Bundle.load(fetch(URL)).root.name == first


@pytest.mark.parametrize("damage", ["gone", "altered", "outside"])
def test_what_is_damaged_there_is_refused_and_what_served_goes_on(damage: str, home: Path) -> None:
    first = push(home, URL)
    assert fetch(URL).joinpath(first).is_dir()
    serve_second(home)
    push(home, URL)
    system = fsspec.filesystem("failing")
    place = f"/bucket/models/tiny/{SECOND}"
    if damage == "gone":
        system.rm(f"{place}/model.onnx")
    elif damage == "altered":
        system.pipe(f"{place}/model.onnx", b"other")
    else:
        manifest = json.loads(system.cat(f"{place}/{MANIFEST}"))
        manifest["files"] = {"../../../escaped": "0" * 64}
        system.pipe(f"{place}/{MANIFEST}", json.dumps(manifest).encode())
    with pytest.raises(BundleError):
        fetch(URL)
    assert Bundle.load(cache_of(URL)).root.name == first
    assert not list(cache_of(URL).glob(".*"))


@pytest.mark.parametrize("said", ["../../etc", "", "\0", "<html>" + "x" * 5000, "20260131T120000Z-0123abcd/../x"])
def test_a_current_that_names_no_version_is_refused_and_what_served_goes_on(said: str, home: Path) -> None:
    first = push(home, URL)
    fetch(URL)
    fsspec.filesystem("failing").pipe(f"/bucket/models/tiny/{CURRENT}", said.encode())
    with pytest.raises(BundleError, match="expected a version") as caught:
        fetch(URL)
    assert len(str(caught.value)) < 300
    assert Bundle.load(cache_of(URL)).root.name == first


@pytest.mark.parametrize(
    "files", [None, [], ["model.onnx"], {"": "0"}, {"model.onnx": 5}, {"/etc/x": "0"}, {"..": "0"}]
)
def test_a_manifest_whose_files_are_none_is_refused(files: object, home: Path) -> None:
    version = push(home, URL)
    place, system = f"/bucket/models/tiny/{version}/{MANIFEST}", fsspec.filesystem("failing")
    values = json.loads(system.cat(place))
    values["files"] = files
    digest = {name: value for name, value in values.items() if name not in ("bundle_id",)}
    digest |= {"metrics": {}, "libraries": {}, "lineage": {}}
    values["bundle_id"] = hashlib.sha256(json.dumps(digest, sort_keys=True).encode()).hexdigest()
    system.pipe(place, json.dumps(values).encode())
    with pytest.raises(BundleError):
        fetch(URL)
    assert not list(cache_of(URL).glob("*/model.onnx"))


def test_several_threads_that_fetch_at_once_all_have_the_version(home: Path) -> None:
    version = push(home, URL)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(fetch, [URL] * 24):
            assert Bundle.load(found).root.name == version
    assert [path.name for path in cache_of(URL).iterdir() if path.name not in (CURRENT, version)] == []


def test_a_cache_that_cannot_be_written_is_named(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(home, URL)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BundleError, match="set XDG_CACHE_HOME"):
        fetch(URL)


def test_half_a_version_in_the_cache_does_not_serve(home: Path) -> None:
    version = push(home, URL)
    (cache_of(URL) / version).mkdir(parents=True)
    (cache_of(URL) / version / "model.onnx").write_bytes(b"half")
    with pytest.raises(BundleError, match="cannot be written"):
        fetch(URL)
    assert not (cache_of(URL) / CURRENT).exists()


def test_what_a_killed_fetch_left_is_deleted_in_the_end(home: Path) -> None:
    push(home, URL)
    old, young = cache_of(URL) / ".fetched.old", cache_of(URL) / ".fetched.young"
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    fetch(URL)
    assert (old.exists(), young.exists()) == (False, True)


def test_another_bundle_of_the_same_name_is_not_replaced(home: Path) -> None:
    version = push(home, URL)
    fsspec.filesystem("failing").pipe(f"/bucket/models/tiny/{version}/{MANIFEST}", b"{}")
    with pytest.raises(BundleError, match=f"holds another bundle that is called {version}"):
        push(home, URL)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("failing://user:secret@bucket/nothing?key=secret", "failing://bucket/nothing cannot be read"),
        ("failing://user:sec:se/cret@bucket/nothing", "failing://bucket/nothing cannot be read"),
        ("unknown-scheme://bucket/a", "cannot be opened"),
    ],
)
def test_a_storage_without_a_bundle_is_named_without_its_secrets(url: str, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        Classifier.load(url)
    assert "user" not in str(caught.value)
    assert "cret" not in str(caught.value)


def test_a_cascade_serves_what_is_pushed_later(home: Path) -> None:
    push(home, URL)
    with Cascade.load(URL, log="none") as cascade:
        assert cascade.classify("refund the invoice").intent
        watch = Watch(fetch(URL), Policy(), url=URL, fetch_every_s=0.0)
        serve_second(home)
        push(home, URL)
        watch.look()
        assert watch.loaded is not None
        assert watch.loaded.classifier.bundle.root.name == SECOND


def test_a_storage_that_is_away_stops_no_answer(home: Path) -> None:
    push(home, URL)
    watch = Watch(fetch(URL), Policy(), url=URL, fetch_every_s=0.0)
    Failing.store.clear()
    with pytest.raises(BundleError):
        watch.look()  # the worker says so and tries again
    assert watch.tier is not None
    assert watch.tier.classifier.predict("refund the invoice").intent


def test_the_command_pushes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--models", str(home.parent), "--name", "tiny", "--push", URL]) == 0
    assert f"serves at {URL}" in capsys.readouterr().out
    assert Bundle.load(fetch(URL))
