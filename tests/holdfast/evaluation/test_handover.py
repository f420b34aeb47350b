"""Whether one bundle may take the place of another, and how it is handed on."""

import pytest

from holdfast.bundle import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.errors import HoldfastError
from holdfast.evaluation.handover.command import publish, version_name
from holdfast.evaluation.handover.measuring import HandoverGate, HandoverResult, refuse_unlike
from holdfast.intervals import Difference, Rate
from holdfast.server.versions.source import VersionsDirectory
from tests.bundles import write_coloured_bundle


def result(*, alike=95, clean=0.0, robust=0.0, fixed=None):
    return HandoverResult(
        agreement=Rate(alike, 100),
        clean=Difference(clean, clean - 0.1, clean + 0.1),
        robust=Difference(robust, robust - 0.1, robust + 0.1),
        fixed=fixed,
        threat=ThreatModel("linf", 4 / 255),
        images=100,
    )


@pytest.mark.parametrize(
    ("measured", "faults"),
    [
        (result(), 0),
        (result(alike=90, clean=-0.03, robust=-0.03), 0),
        (result(alike=89), 1),
        (result(clean=-0.031), 1),
        (result(robust=-0.031), 1),
        (result(clean=0.2, robust=0.2), 0),
        (result(fixed=(Rate(48, 50), Rate(49, 50))), 0),
        (result(fixed=(Rate(40, 50), Rate(49, 50))), 1),
        (result(alike=10, clean=-0.5, robust=-0.5, fixed=(Rate(0, 50), Rate(50, 50))), 4),
    ],
)
def test_what_is_lost_beyond_the_gate_is_said(measured, faults) -> None:
    assert len(measured.faults(HandoverGate())) == faults
    assert measured.faults(HandoverGate(agreement=0.0, loss=1.0)) == []


def test_bundles_of_other_classes_or_images_are_refused(tmp_path) -> None:
    bundle = Bundle.open(write_coloured_bundle(tmp_path / "one"))
    larger = Bundle.open(write_coloured_bundle(tmp_path / "larger", side=24))
    others = Bundle.open(write_coloured_bundle(tmp_path / "others", colours={"a": (200, 0, 0), "b": (0, 0, 200)}))
    for other in (larger, others):
        with pytest.raises(HoldfastError, match="cannot take its place"):
            refuse_unlike(bundle, other)


def test_a_version_that_is_handed_on_is_the_newest_and_whole(tmp_path) -> None:
    bundle = Bundle.open(write_coloured_bundle(tmp_path / "digits"))
    versions = tmp_path / "versions"
    for expected in ("digits-2", "digits-3"):
        name = version_name(versions, None, bundle.directory)
        assert name == expected
        publish(bundle, versions, name)
        assert VersionsDirectory(versions).places()[0].name == expected
        assert Bundle.open(versions / name).manifest == bundle.manifest
    assert version_name(versions, "digits-10", bundle.directory) == "digits-10"
    for bad in ("digits-1", "digits-3", ".hidden", "a/b", "x.part"):
        with pytest.raises(HoldfastError):
            version_name(versions, bad, bundle.directory)
    assert sorted(path.name for path in versions.iterdir()) == ["digits-2", "digits-3"]
