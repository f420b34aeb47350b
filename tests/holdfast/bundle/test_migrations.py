"""Manifests of other schemas than today's."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from holdfast.bundle import Bundle, BundleWriter, Manifest, read_manifest
from holdfast.bundle.__main__ import main
from holdfast.bundle.manifest import SCHEMA_VERSION
from holdfast.bundle.migrations import migrated
from holdfast.errors import SchemaMismatchError

# As python -m index_build wrote it before the manifest named the kind of its index.
GOLDEN = Path(__file__).parent / "manifest_schema_1.json"
GOLDEN_SHA256 = "7f517cf322675b533ab38dc843e2a103822da447adc90ea6408c89f87802e654"
SHIPPED = Path(__file__).parents[3] / "bundles" / "cifar10-small"


def hashes(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_golden_manifest_is_what_it_was() -> None:
    assert hashlib.sha256(GOLDEN.read_bytes()).hexdigest() == GOLDEN_SHA256
    assert json.loads(GOLDEN.read_text())["schema_version"] == 1


def test_schema_1_is_read_and_says_nothing(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    manifest = Manifest.from_json(GOLDEN.read_bytes(), "golden")
    written = json.loads(GOLDEN.read_text())
    assert manifest.schema_version == SCHEMA_VERSION == 2
    assert (manifest.index_kind, manifest.index_files) == ("flat", ("index.faiss",))
    # All else is as it was written.
    expected = written | {"schema_version": 2, "index": {"kind": "flat", "parameters": {}} | written["index"]}
    assert json.loads(manifest.to_json()) == expected
    assert (capfd.readouterr(), list(recwarn)) == (("", ""), [])


def test_schema_1_without_an_index_is_read_too() -> None:
    values = json.loads(GOLDEN.read_text()) | {"index": None}
    assert Manifest.from_json(json.dumps(values).encode(), "golden").index is None
    del values["index"]
    assert Manifest.from_json(json.dumps(values).encode(), "golden").index_kind == "flat"


def test_migrating_leaves_its_argument_as_it_is() -> None:
    values = json.loads(GOLDEN.read_text())
    before = json.dumps(values)
    assert migrated(values, 2, "golden")["index"]["kind"] == "flat"
    assert json.dumps(values) == before


def test_a_bundle_of_schema_1_opens_and_its_files_stay_as_they_are(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    values = json.loads((tiny / "manifest.json").read_text()) | {"schema_version": 1}
    del values["index"]["kind"]
    (tiny / "manifest.json").write_text(json.dumps(values, indent=2) + "\n")
    before = hashes(tiny)
    assert Bundle.open(tiny).index.kind == "flat"
    assert hashes(tiny) == before
    assert capfd.readouterr() == ("", "")
    assert main(["check", str(tiny)]) == 0
    assert hashes(tiny) == before
    # What is written is of today's schema.
    BundleWriter.open(tiny).commit(read_manifest(tiny))
    assert json.loads((tiny / "manifest.json").read_text())["schema_version"] == 2
    assert Bundle.open(tiny).index.kind == "flat"


def test_a_copy_is_of_todays_schema(tmp_path: Path) -> None:
    before = hashes(SHIPPED)
    assert json.loads((SHIPPED / "manifest.json").read_text())["schema_version"] == 1
    assert main(["copy", str(SHIPPED), str(tmp_path / "copy")]) == 0
    assert hashes(SHIPPED) == before
    copied = hashes(tmp_path / "copy")
    assert {name for name in before if copied[name] != before[name]} == {"manifest.json"}
    assert read_manifest(tmp_path / "copy") == read_manifest(SHIPPED)


def test_a_newer_schema_says_what_it_needs(tiny: Path) -> None:
    shutil.copyfile(GOLDEN, tiny / "manifest.json")
    for version in (3, 17):
        values = json.loads(GOLDEN.read_text()) | {"schema_version": version, "anything": "else"}
        (tiny / "manifest.json").write_text(json.dumps(values))
        with pytest.raises(SchemaMismatchError, match=rf"newer holdfast \(schema {version}\).* 2: upgrade"):
            read_manifest(tiny)


@pytest.mark.parametrize("version", [0, -1, None, "2", 1.0, True, [1]])
def test_what_is_no_schema_version(version: object) -> None:
    values = json.loads(GOLDEN.read_text()) | {"schema_version": version}
    with pytest.raises(SchemaMismatchError, match="schema version"):
        Manifest.from_json(json.dumps(values).encode(), "golden")
    del values["schema_version"]
    with pytest.raises(SchemaMismatchError, match="schema version None"):
        Manifest.from_json(json.dumps(values).encode(), "golden")
