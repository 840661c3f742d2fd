import json
import multiprocessing
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inference.bundle.manifest import Bundle, BundleError, Manifest, read_manifest, resolve, seal
from inference.bundle.rules import MeasuredRule
from inference.classifier import Classifier
from inference.common.files import write_atomically


@pytest.fixture
def version(tiny_home: Path, tmp_path: Path) -> Path:
    """A copy of the published version that a test may damage."""
    return Path(shutil.copytree(resolve(tiny_home), tmp_path / "version"))


def edit(version: Path, change: Callable[[dict[str, object]], None], reseal: bool = True) -> None:
    """Change the manifest's values; `reseal` gives it a fitting bundle id, as one who knows the format would."""
    values = json.loads((version / "manifest.json").read_text())
    change(values)
    if reseal:
        fields = {k: v for k, v in values.items() if k != "bundle_id"}
        certificates = ()
        manifest = Manifest(**{**fields, "labels": tuple(fields["labels"]), "certificates": certificates})
        values = json.loads(manifest.to_json())
    (version / "manifest.json").write_text(json.dumps(values))


def test_loading_the_home_and_the_version_give_the_same_bundle(tiny_home: Path) -> None:
    assert Bundle.load(tiny_home).manifest == Bundle.load(resolve(tiny_home)).manifest


def test_a_flipped_byte_in_any_file_is_refused_by_name(version: Path) -> None:
    names = sorted(read_manifest(version).files)
    assert {"model.onnx", "tokenizer.json", "taxonomy.toml", "report.json", "README.md"} <= set(names)
    for name in names:
        path = version / name
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(BundleError, match=f"{name} was altered"):
            Bundle.load(version)
        path.write_bytes(content)
    assert Bundle.load(version).manifest.files


def test_a_missing_file_is_refused_by_name(version: Path) -> None:
    (version / "taxonomy.toml").unlink()
    with pytest.raises(BundleError, match=r"taxonomy\.toml is missing"):
        Bundle.load(version)


def test_an_altered_manifest_is_refused(version: Path) -> None:
    edit(version, lambda values: values.update(temperature=2.0), reseal=False)
    with pytest.raises(BundleError, match="was altered"):
        Bundle.load(version)


@pytest.mark.parametrize("schema", [0, 5, "1", None, True])
def test_an_unknown_schema_is_refused(version: Path, schema: object) -> None:
    edit(version, lambda values: values.update(schema=schema), reseal=False)
    with pytest.raises(BundleError, match="schema"):
        Bundle.load(version)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": 1}'])
def test_a_manifest_that_is_none_is_refused(version: Path, content: bytes) -> None:
    (version / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.load(version)


def test_labels_that_do_not_fit_the_taxonomy_are_refused(version: Path) -> None:
    edit(version, lambda values: values.update(labels=["payments", "account"]))
    with pytest.raises(BundleError, match="2 labels are not the taxonomy's: only one of the two has unknown"):
        Bundle.load(version)


def test_labels_in_another_order_than_the_taxonomys_are_refused(version: Path) -> None:
    edit(version, lambda values: values["labels"].reverse())
    with pytest.raises(BundleError, match="are not the taxonomy's: they have another order"):
        Bundle.load(version)


def test_labels_that_do_not_fit_the_model_are_refused(version: Path) -> None:
    (version / "taxonomy.toml").write_text('[[intents]]\nname = "a"\n[[intents]]\nname = "b"\n')
    seal(version, Manifest(labels=("a", "b"), max_tokens=16))
    with pytest.raises(BundleError, match="the model has 3 outputs for 2 labels"):
        Classifier.load(version)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "plots/../../outside"])
def test_a_path_that_leaves_the_folder_is_refused(version: Path, name: str) -> None:
    (version.parent / "outside").write_text("x")
    edit(version, lambda values: values.update(files={**values["files"], name: "0"}))  # type: ignore[dict-item]
    with pytest.raises(BundleError, match="a path outside the folder"):
        Bundle.load(version)


def test_a_link_that_leaves_the_folder_is_refused(version: Path) -> None:
    outside = version.parent / "report.json"
    (version / "report.json").rename(outside)
    (version / "report.json").symlink_to(outside)
    with pytest.raises(BundleError, match="a path outside the folder"):
        Bundle.load(version)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.onnx"])
def test_a_truncated_file_under_a_fitting_hash_is_refused_by_name(version: Path, name: str) -> None:
    content = (version / name).read_bytes()
    (version / name).write_bytes(content[: len(content) // 3])
    seal(version, read_manifest(version))
    with pytest.raises(BundleError, match=f"{name} cannot be loaded"):
        Classifier.load(version)


def test_a_model_file_that_is_not_listed_is_refused(version: Path) -> None:
    edit(version, lambda values: values.update(files={}))
    with pytest.raises(BundleError, match=r"does not list model\.onnx"):
        Bundle.load(version)


@pytest.mark.parametrize("content", ["", "../evil", "20260101T000000Z-00000000", "x" * 5000])
def test_a_pointer_to_nothing_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "current").write_text(content)
    with pytest.raises(BundleError, match="current names"):
        Bundle.load(tmp_path)


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle.load(tmp_path / "absent")


def test_the_bundle_id_covers_everything_that_changes_an_answer() -> None:
    manifest = Manifest(labels=("a", "b"), max_tokens=16, files={"model.onnx": "1"})
    changed = [{"labels": ("b", "a")}, {"max_tokens": 8}, {"temperature": 2.0}, {"files": {"model.onnx": "2"}}]
    ids = {manifest.bundle_id} | {replace(manifest, **change).bundle_id for change in changed}  # type: ignore[arg-type]
    assert len(ids) == 5


def test_measured_rules_are_read_back_and_count_for_the_id(version: Path) -> None:
    rules = (MeasuredRule("human", "account", 10, 9, 10 / 12), MeasuredRule("refund", "payments", 0, 0, 0.5))
    manifest = seal(version, replace(read_manifest(version), rules=rules))
    assert Bundle.load(version).manifest == manifest
    assert manifest.bundle_id != replace(manifest, rules=rules[:1]).bundle_id != replace(manifest, rules=()).bundle_id


@pytest.mark.parametrize("before", [{}, None])
def test_a_manifest_from_before_there_were_rules_is_read(version: Path, before: object) -> None:
    change = (
        (lambda values: values.update(rules=before)) if before is not None else (lambda values: values.pop("rules"))
    )
    edit(version, change, reseal=False)
    assert Bundle.load(version).manifest.rules == ()


@pytest.mark.parametrize("rules", [[{"name": "human"}], [{"colour": "red"}], [3], 3])
def test_rules_that_are_none_are_refused(version: Path, rules: object) -> None:
    edit(version, lambda values: values.update(rules=rules), reseal=False)
    with pytest.raises(BundleError, match="does not fit schema"):
        Bundle.load(version)


def _write_for_ever(path: str, letter: str) -> None:
    while True:
        write_atomically(Path(path), letter.encode() * 100_000)


def test_a_reader_never_sees_half_a_file_and_a_kill_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"a" * 100_000)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_for_ever, args=(str(path), letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    try:
        seen = {path.read_bytes() for _ in range(500)}
    finally:
        for writer in writers:
            writer.kill()
            writer.join()
    assert seen <= {b"a" * 100_000, b"b" * 100_000}
    assert path.read_bytes() in seen | {b"a" * 100_000, b"b" * 100_000}


OLD = Path(__file__).parents[1] / "old" / "models" / "tiny"


def test_a_bundle_of_schema_1_keeps_its_id_and_has_what_its_time_knew() -> None:
    manifest = Bundle.load(OLD).manifest
    assert manifest.schema == 1
    assert (manifest.target, manifest.never_accepted) == (0.95, ())
    assert manifest.bundle_id == json.loads((resolve(OLD) / "manifest.json").read_text())["bundle_id"]


def test_a_bundle_of_schema_1_with_a_field_of_schema_2_is_refused(version: Path) -> None:
    edit(version, lambda values: values.update(schema=1), reseal=False)
    with pytest.raises(BundleError, match="unknown field never_accepted, target"):
        Bundle.load(version)


def test_what_is_never_accepted_must_be_a_label_and_is_part_of_the_id(version: Path) -> None:
    manifest = read_manifest(version)
    assert replace(manifest, never_accepted=("payments",)).bundle_id != manifest.bundle_id
    assert replace(manifest, target=0.9).bundle_id != manifest.bundle_id
    edit(version, lambda values: values.update(never_accepted=["weather"]))
    with pytest.raises(BundleError, match="never_accepted must be labels"):
        read_manifest(version)
