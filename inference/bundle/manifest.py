"""THE CONTRACT between training and inference: a folder of files, and a manifest that is written last.

A bundle is models/<name>/<version>/; models/<name>/current is a small text file that names the serving version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from inference.bundle.rules import MeasuredRule
from inference.bundle.taxonomy import Taxonomy
from inference.common.errors import MonokuError
from inference.common.files import fsync, write_atomically
from inference.common.text import canonical

SCHEMA = 4
WITHOUT_INTENTS = 3  # what a bundle without intents' own targets is written as: earlier versions read it
NEW_IN_2 = ("target", "never_accepted")  # bundles of schema 1 have neither: their ids are computed without
NEW_IN_3 = ("exit_above",)  # of a certificate: the same holds of bundles of schema 2
NEW_IN_4 = ("intents",)
DEFAULT_TARGET = 0.95
MANIFEST = "manifest.json"
CURRENT = "current"
MODEL, TOKENIZER, TAXONOMY = "model.onnx", "tokenizer.json", "taxonomy.toml"
EXIT = "exit.npz"  # of some bundles
VERSION = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


class BundleError(MonokuError, ValueError):
    """A bundle that must not be served. The message names what was found and what was expected.

    Examples:
        >>> try:
        ...     Classifier.load("models/suport")
        ... except BundleError:
        ...     print("there is no such model: go on without one")
        there is no such model: go on without one
    """


@dataclass(frozen=True)
class Certificate:
    """One promise: among accepted queries the answer agrees with the reference at least `target` of the time.

    `accept_above` is the score that an accepted answer must exceed, None where no threshold could be certified. What a
    rule of `Rules.for_target(…, target)` answers is accepted too, and what the exit answers with a confidence above
    `exit_above` (None: it is not asked): the promise is about rules, exit and student together, as `Classifier` runs
    them.
    `coverage` and `agreement` are what the calibration sample showed above it; `delta` is the probability, over that
    sample, that this promise is broken.

    Examples:
        >>> certificate = Classifier.load("models/support").certificate
        >>> certificate.target, certificate.accept_above is not None
        (0.95, True)
    """

    target: float
    delta: float
    accept_above: float | None
    coverage: float = 0.0
    agreement: float | None = None
    accepted: int = 0
    exit_above: float | None = None


@dataclass(frozen=True)
class IntentCertificate(Certificate):
    """The promise of an intent with a target of its own, about the accepted answers that name it.

    It holds whichever certificate of the bundle serves beside it. What the exit, above `exit_above`, or a rule answers
    with this intent stays their answer where there is no threshold, but is not accepted. `named` counts the calibration
    rows whose answer names it; `coverage` is the share of all rows that is accepted with it. Where nothing is
    certified, at least `lacks` further ones, all right, would have been needed.
    """

    intent: str = ""
    named: int = 0
    lacks: int = 0


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself. `files` maps each file's relative path to its SHA-256.

    `target` is the one that the user named: most of delta was spent on its certificate. Answers with an intent of
    `never_accepted` are never accepted, for too few rows of it were known to certify anything. Answers with an intent
    of `intents` are accepted by that certificate alone: `certificates` are about all others.
    """

    labels: tuple[str, ...]
    max_tokens: int
    schema: int = WITHOUT_INTENTS
    temperature: float = 1.0
    certificates: tuple[Certificate, ...] = ()
    target: float = DEFAULT_TARGET
    never_accepted: tuple[str, ...] = ()
    intents: tuple[IntentCertificate, ...] = ()
    unit: str = "distinct queries"
    reference: str = "gold"
    teacher: Mapping[str, Any] | None = None
    rules: tuple[MeasuredRule, ...] = ()
    redactor: str | None = None
    dataset: str = ""
    base: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def exits(self) -> bool:
        """Whether a certificate has the exit answer."""
        return any(certificate.exit_above is not None for certificate in (*self.certificates, *self.intents))

    @property
    def bundle_id(self) -> str:
        """Hash over the files' hashes and everything else that can change an answer."""
        values = self._values()
        values |= {"metrics": {}, "libraries": {}, "lineage": {}}
        values["rules"] = values["rules"] or {}  # what bundles without rules have hashed from the first
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps({"bundle_id": self.bundle_id, **self._values()}, indent=2, sort_keys=True) + "\n"

    def _values(self) -> dict[str, Any]:
        values = asdict(self)
        new = NEW_IN_3 if self.schema < 3 else ()
        values["certificates"] = [_without(certificate, new) for certificate in values["certificates"]]
        values = values if self.schema > 3 else _without(values, NEW_IN_4)
        return values if self.schema > 1 else _without(values, NEW_IN_2)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: its manifest, and the bytes of the files that inference needs, as they were hashed.

    Examples:
        >>> Bundle.load("models/support").manifest.target
        0.95
    """

    root: Path
    manifest: Manifest
    taxonomy: Taxonomy
    model: bytes
    tokenizer: bytes
    exit: bytes | None = None

    @classmethod
    def load(cls, path: str | Path) -> Bundle:
        """Load and verify a version's folder, or the serving version of a model's folder.

        Raises BundleError if the schema is unknown, a file is missing or altered, the labels do not match the taxonomy,
        or a path leaves the folder.
        """
        root = resolve(Path(path))
        manifest = read_manifest(root)
        contents = {name: _verified(root, name, digest) for name, digest in manifest.files.items()}
        needed = (MODEL, TOKENIZER, TAXONOMY, *([EXIT] if manifest.exits else []))
        missing = [name for name in needed if name not in contents]
        if missing:
            raise BundleError(f"{root}: the manifest does not list {', '.join(missing)}")
        taxonomy = _taxonomy(contents[TAXONOMY], manifest, root)
        return cls(root, manifest, taxonomy, contents[MODEL], contents[TOKENIZER], contents.get(EXIT))

    @classmethod
    def draft(cls, root: Path, manifest: Manifest) -> Bundle:
        """A bundle in the making, unverified: what training evaluates before it seals."""
        contents = [(root / name).read_bytes() for name in (MODEL, TOKENIZER, TAXONOMY)]
        found = (root / EXIT).read_bytes() if (root / EXIT).is_file() else None
        return cls(root, manifest, _taxonomy(contents[2], manifest, root), contents[0], contents[1], found)


def seal(root: Path, manifest: Manifest) -> Manifest:
    """Hash every file under `root` and write the manifest, last: its existence means that the bundle is complete."""
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and p.name != MANIFEST)
    for name in names:
        fsync(root / name)
    sealed = replace(manifest, files={name: _sha256((root / name).read_bytes()) for name in names})
    write_atomically(root / MANIFEST, sealed.to_json().encode())
    return sealed


def serving(home: Path) -> str | None:
    """The version that `current` in models/<name> names, a text or a link to its folder; None where there is none."""
    pointer = home / CURRENT
    if pointer.is_dir():
        return pointer.resolve().name
    return pointer.read_text(encoding="utf-8-sig", errors="replace").strip() if pointer.is_file() else None


def resolve(path: Path) -> Path:
    """The version's folder that `path` stands for: itself, or the one that its `current` names."""
    if (path / MANIFEST).is_file():
        return path
    pointer, version = path / CURRENT, serving(path)
    if version is None:
        raise BundleError(f"{path} is not a bundle: it has neither {MANIFEST} nor {CURRENT}")
    if not VERSION.fullmatch(version):
        raise BundleError(f"{pointer} names {version!r}, expected a version such as 20260131T120000Z-0123abcd")
    if not (path / version / MANIFEST).is_file():
        raise BundleError(f"{pointer} names {version}, but {path / version} has no {MANIFEST}")
    return path / version


def read_manifest(root: Path) -> Manifest:
    """The manifest of a version's folder, its schema, fields and id checked. Raises BundleError if one is invalid."""
    where = root / MANIFEST
    try:
        values = json.loads(where.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{where} cannot be read: {error}") from error
    schema = values.get("schema") if isinstance(values, dict) else type(values).__name__
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise BundleError(f"{where} has schema {schema!r}, this version reads 1 to {SCHEMA}")
    declared = values.pop("bundle_id", None)
    try:
        manifest = _manifest(values)
    except (TypeError, ValueError, KeyError) as error:
        raise BundleError(f"{where} does not fit schema {schema}: {error}") from error
    if manifest.bundle_id != declared:
        raise BundleError(f"{where} was altered: it says bundle {declared}, its content is {manifest.bundle_id}")
    return manifest


def _manifest(values: dict[str, Any]) -> Manifest:
    schema = values["schema"]
    known = {f.name for f in fields(Manifest)}
    known -= {*(NEW_IN_2 if schema < 2 else ()), *(NEW_IN_4 if schema < 4 else ())}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"unknown field {', '.join(unknown)}")
    certificates = tuple(_certificate(certificate, schema) for certificate in values.pop("certificates"))
    intents = tuple(IntentCertificate(**certificate) for certificate in values.pop("intents", ()))
    rules = tuple(MeasuredRule(**rule) for rule in values.pop("rules", ()))
    labels = tuple(values.pop("labels"))
    if not all(isinstance(label, str) for label in labels):
        raise ValueError("labels must be strings")
    never = tuple(values.pop("never_accepted", ()))
    if not set(never) <= set(labels):
        raise ValueError(f"never_accepted must be labels, got {list(never)}")
    if not {certificate.intent for certificate in intents} <= set(labels):
        raise ValueError(f"intents must be labels, got {[certificate.intent for certificate in intents]}")
    values |= {"certificates": certificates, "intents": intents, "rules": rules, "never_accepted": never}
    manifest = Manifest(labels=labels, **values)
    files = manifest.files
    if not isinstance(files, dict) or not all(name and isinstance(digest, str) for name, digest in files.items()):
        raise ValueError("files must map names to hashes")
    if not manifest.temperature > 0 or manifest.max_tokens < 1:
        raise ValueError("temperature and max_tokens must be positive")
    return manifest


def _certificate(values: dict[str, Any], schema: int) -> Certificate:
    if schema < 3 and set(NEW_IN_3) & set(values):
        raise ValueError(f"a certificate has {', '.join(NEW_IN_3)}, which came with schema 3")
    return Certificate(**values)


def _without(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _verified(root: Path, name: str, digest: str) -> bytes:
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise BundleError(f"{root}: the manifest names {name!r}, a path outside the folder")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{root}: {name} is missing or cannot be read: {error.strerror}") from error
    found = _sha256(content)
    if found != digest:
        raise BundleError(f"{root}: {name} was altered: it has SHA-256 {found}, the manifest says {digest}")
    return content


def _taxonomy(content: bytes, manifest: Manifest, root: Path) -> Taxonomy:
    try:
        taxonomy = Taxonomy.parse(content.decode("utf-8"))
    except ValueError as error:
        raise BundleError(f"{root}: {TAXONOMY}: {error}") from error
    labels = tuple(map(canonical, manifest.labels))  # older bundles have labels as they were written
    if taxonomy.names != labels:
        one_sided = sorted(set(taxonomy.names) ^ set(labels))[:5]
        why = f"only one of the two has {', '.join(one_sided)}" if one_sided else "they have another order"
        raise BundleError(f"{root}: the manifest's {len(labels)} labels are not the taxonomy's: {why}")
    return taxonomy


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
