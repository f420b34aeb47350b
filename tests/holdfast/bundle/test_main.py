import shutil

import numpy as np
import pytest

from holdfast.bundle.__main__ import main
from holdfast.bundle.canary_set import CanarySet
from holdfast.bundle.reader import Bundle
from holdfast.bundle.writer import BundleWriter


def test_check_says_what_it_is(tiny, capsys):
    assert main(["check", str(tiny)]) == 0
    shown = capsys.readouterr().out
    assert "dark, light" in shown
    assert "index.faiss" in shown
    assert "flat, float32" in shown


def test_copy_takes_what_the_manifest_names_and_nothing_else(tiny, tmp_path):
    (tiny / "checkpoint").mkdir()
    (tiny / "checkpoint" / "latest.safetensors").write_bytes(b"x")
    (tiny / "log.csv").write_text("stage\n")
    writer = BundleWriter.open(tiny)
    writer.add("report/report.json", lambda path: path.write_text("{}"))
    writer.commit(Bundle.open(tiny).manifest)
    to = tmp_path / "bundles" / "copy"
    assert main(["copy", str(tiny), str(to)]) == 0
    copied = {str(path.relative_to(to)) for path in to.rglob("*") if path.is_file()}
    assert copied == {"manifest.json", *Bundle.open(tiny).manifest.files}
    assert "report/report.json" in copied
    assert Bundle.open(to).manifest == Bundle.open(tiny).manifest
    assert main(["copy", str(tiny), str(to)]) == 0


def test_a_canary_is_left_out_where_that_is_asked_for(tiny, tmp_path):
    bundle, images = Bundle.open(tiny), np.zeros((2, *Bundle.open(tiny).manifest.input.shape), np.uint8)
    canary = CanarySet.recorded(
        bundle.classifier(),
        images,
        np.array([0, 1]),
        attacked=None,
        class_names=bundle.class_names,
        threat=bundle.manifest.ball,
    )
    writer = BundleWriter.open(tiny)
    writer.add("canary.npz", canary.save)
    writer.commit(bundle.manifest)
    to = tmp_path / "copy"
    assert main(["copy", str(tiny), str(to)]) == 0
    assert len(Bundle.open(to).canary_set) == 2
    assert main(["copy", str(tiny), str(to), "--without-canary"]) == 0
    assert Bundle.open(to).canary_set is None
    assert not (to / "canary.npz").exists()


def test_what_is_damaged_or_in_the_way_is_said(tiny, tmp_path, capsys):
    assert main(["copy", str(tiny), str(tiny)]) == 2
    assert "itself" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    assert main(["copy", str(tiny), str(tmp_path / "full")]) == 2
    assert "not a bundle" in capsys.readouterr().err
    broken = shutil.copytree(tiny, tmp_path / "broken")
    (broken / "index.faiss").write_bytes(b"nonsense")
    assert main(["check", str(broken)]) == 2
    assert "sha256" in capsys.readouterr().err
    assert main(["copy", str(broken), str(tmp_path / "never")]) == 2
    assert not (tmp_path / "never").exists()


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "holdfast bundle copy" in capsys.readouterr().out
