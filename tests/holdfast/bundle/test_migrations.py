"""Manifests of other schemas than today's."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.bundle import Bundle, BundleWriter, Manifest, read_manifest
from holdfast.bundle.__main__ import main
from holdfast.bundle.manifest import SCHEMA_VERSION
from holdfast.bundle.migrations import migrated
from holdfast.errors import HoldfastError, SchemaMismatchError
from holdfast.model.preprocess import MAX_PIXELS
from tests.holdfast.bundle.tiny import images_of
from tests.server.speech.listening import write_listening_bundle

# As python -m index_build wrote it before the manifest named the kind of its index.
GOLDEN = Path(__file__).parent / "manifest_schema_1.json"
GOLDEN_SHA256 = "7f517cf322675b533ab38dc843e2a103822da447adc90ea6408c89f87802e654"


def of_schema_2(directory: Path) -> dict[str, Any]:
    """The manifest of a bundle that is not calibrated, as schema 2 had it."""
    values: dict[str, Any] = json.loads((directory / "manifest.json").read_text()) | {"schema_version": 2}
    assert values.pop("uncalibrated") is values["calibration"] is None
    return values


def hashes(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_golden_manifest_is_what_it_was() -> None:
    assert hashlib.sha256(GOLDEN.read_bytes()).hexdigest() == GOLDEN_SHA256
    assert json.loads(GOLDEN.read_text())["schema_version"] == 1


def test_schema_1_is_read_and_says_nothing(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    manifest = Manifest.from_json(GOLDEN.read_bytes(), "golden")
    written = json.loads(GOLDEN.read_text())
    assert manifest.schema_version == SCHEMA_VERSION == 5
    assert (manifest.index_kind, manifest.index_files) == ("flat", ("index.faiss",))
    # All else is as it was written, but for the scale of the calibration: neighbours of other labels became their share.
    k = written["vote"]["k"]
    shares = [round(count / k, 4) for count in written["calibration"]["nonconformity"]]
    expected = written | {
        "schema_version": 5,
        "imported": None,
        "input": {"kind": "image", "shortest": None} | written["input"],
        "index": {
            "kind": "flat",
            "parameters": {},
            "vote_agreement": None,
            "reason": None,
            "data": None,
            "renamed": {},
            "next_id": None,
            "labels": None,
        }
        | written["index"],
        "vote": {"prior_correction": 0, "class_weights": []} | written["vote"],
        "calibration": written["calibration"]
        | {"nonconformity": shares, "wanted": 0.95, "kth_distances": [], "unknown_above": None, "left_out": None},
        "uncalibrated": None,
        "training": {"continued": None, "augmentations": "", "hardened": True, "hardened_from": None}
        | written["training"]
        | {"data": {"max_pixels": MAX_PIXELS, "labels": None, "label_noise": 0.0} | written["training"]["data"]},
    }
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
    assert migrated(values, SCHEMA_VERSION, "golden")["index"]["kind"] == "flat"
    assert json.dumps(values) == before


def test_a_bundle_of_schema_1_opens_and_its_files_stay_as_they_are(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    values = of_schema_2(tiny) | {"schema_version": 1}
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
    assert json.loads((tiny / "manifest.json").read_text())["schema_version"] == 5
    assert Bundle.open(tiny).index.kind == "flat"


def test_a_copy_is_of_todays_schema(tiny: Path, tmp_path: Path) -> None:
    (tiny / "manifest.json").write_text(json.dumps(of_schema_2(tiny)))
    before = hashes(tiny)
    assert main(["copy", str(tiny), str(tmp_path / "copy")]) == 0
    assert hashes(tiny) == before
    copied = hashes(tmp_path / "copy")
    assert {name for name in before if copied[name] != before[name]} == {"manifest.json"}
    assert read_manifest(tmp_path / "copy") == read_manifest(tiny)


def test_a_bundle_that_listens_named_a_ball_of_pixels_until_schema_5(tmp_path: Path) -> None:
    directory = write_listening_bundle(tmp_path / "listening")
    values = json.loads((directory / "manifest.json").read_text())
    assert values["threat_model"] is None
    named = values | {"schema_version": 4, "threat_model": {"norm": "linf", "epsilon": 8 / 255}}
    assert Manifest.from_json(json.dumps(named).encode(), "listening").threat_model is None
    with pytest.raises(HoldfastError, match="listens"):
        _ = read_manifest(directory).ball
    for wrong in (named | {"schema_version": 5}, values | {"input": values["input"] | {"kind": "image"}}):
        with pytest.raises(SchemaMismatchError, match="ball of pixels"):
            Manifest.from_json(json.dumps(wrong).encode(), "wrong")


COUNTED = {"nonconformity": [0, 0, 1, 1, 1, 2, 3, 5], "abstain_below": 3 / 9, "coverage": 0.75}
"""As schema 2 had it: of 5 neighbours, those of another label than the true one."""


def test_counts_of_an_unweighted_vote_are_shares_of_it(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every p-value is what it was: the counts of schema 2, by its own formula."""
    (tiny / "manifest.json").write_text(json.dumps(of_schema_2(tiny) | {"calibration": COUNTED}))
    bundle = Bundle.open(tiny)
    calibration = bundle.manifest.calibration
    assert (calibration.abstain_below, calibration.coverage) == (3 / 9, 0.75)
    answers = bundle.classifier().classify(images_of(50, seed=1))
    own = (answers.neighbour_labels == answers.labels[:, np.newaxis]).sum(axis=1)
    at_least = (np.array(COUNTED["nonconformity"]) >= (5 - own)[:, np.newaxis]).sum(axis=1)
    assert len(set(own)) > 1
    np.testing.assert_array_equal(answers.credibility, (1 + at_least) / 9)
    assert not caplog.records


def test_counts_of_a_weighted_vote_are_not_used_and_it_is_said(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"calibration": COUNTED, "vote": {"k": 5, "weighting": "exponential", "temperature": 0.1}}
    (tiny / "manifest.json").write_text(json.dumps(of_schema_2(tiny) | changes))
    bundle = Bundle.open(tiny)
    assert "--recalibrate" in caplog.text
    answers = bundle.classifier().classify(images_of(5))
    assert np.isnan(answers.credibility).all()
    assert not answers.abstain.any()
    assert main(["copy", str(tiny), str(tmp_path / "copy")]) == 0
    assert "--recalibrate" in " ".join(capsys.readouterr().out.split())
    assert read_manifest(tmp_path / "copy") == bundle.manifest


def test_what_is_wrong_with_an_older_calibration_is_said(tiny: Path) -> None:
    before = of_schema_2(tiny)
    for wrong in ({"nonconformity": [3, 1]}, {"nonconformity": [0, 9]}, {"nonconformity": ["many"]}, {"coverage": 2}):
        (tiny / "manifest.json").write_text(json.dumps(before | {"calibration": COUNTED | wrong}))
        with pytest.raises(SchemaMismatchError, match="calibration"):
            read_manifest(tiny)


def test_an_encoder_of_schema_3_looks_at_images(tiny: Path) -> None:
    values = json.loads((tiny / "manifest.json").read_text()) | {"schema_version": 3}
    assert values["input"].pop("kind") == "image"
    (tiny / "manifest.json").write_text(json.dumps(values))
    assert read_manifest(tiny).input.kind == "image"
    assert Bundle.open(tiny).index.size


def test_pictures_of_speech_are_of_one_size(tiny: Path) -> None:
    values = json.loads((tiny / "manifest.json").read_text())
    values["input"]["kind"] = "speech"
    (tiny / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(SchemaMismatchError, match="64 x 64"):
        read_manifest(tiny)


def test_a_newer_schema_says_what_it_needs(tiny: Path) -> None:
    shutil.copyfile(GOLDEN, tiny / "manifest.json")
    for version in (SCHEMA_VERSION + 1, 17):
        values = json.loads(GOLDEN.read_text()) | {"schema_version": version, "anything": "else"}
        (tiny / "manifest.json").write_text(json.dumps(values))
        with pytest.raises(SchemaMismatchError, match=rf"newer holdfast \(schema {version}\).* {SCHEMA_VERSION}: upgrade"):
            read_manifest(tiny)


@pytest.mark.parametrize("version", [0, -1, None, "2", 1.0, True, [1]])
def test_what_is_no_schema_version(version: object) -> None:
    values = json.loads(GOLDEN.read_text()) | {"schema_version": version}
    with pytest.raises(SchemaMismatchError, match="schema version"):
        Manifest.from_json(json.dumps(values).encode(), "golden")
    del values["schema_version"]
    with pytest.raises(SchemaMismatchError, match="schema version None"):
        Manifest.from_json(json.dumps(values).encode(), "golden")
