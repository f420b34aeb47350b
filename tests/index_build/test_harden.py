"""Attacked images in the place of exemplars."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import data
from holdfast.bundle import Bundle
from holdfast.bundle.exemplars import Flag
from holdfast.bundle.threat_model import ThreatModel
from holdfast.index_build import build_index
from holdfast.index_build.cli import main
from holdfast.index_build.harden import Hardening
from holdfast.model.retrieval.base import nearest
from tests.index_build.test_index_build import write_bundle

BALL = ThreatModel("linf", 16 / 255)


@pytest.fixture
def digits():
    return data.load("digits", size=8, calibration=100)


@pytest.fixture
def bundle(tmp_path, digits):
    return write_bundle(tmp_path / "bundle", digits)


@given(share=st.floats(0.01, 1), size=st.integers(1, 3000))
def test_rows_are_the_share_spread_evenly(share, size) -> None:
    rows = Hardening(share, BALL).rows(size)
    assert len(rows) == round(share * size) == len(np.unique(rows))
    if len(rows):
        assert rows[0] == 0
        assert rows[-1] < size
    if len(rows) > 1:
        gaps = np.diff(rows)
        assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(("share", "steps"), [(0.0, 3), (1.1, 3), (float("nan"), 3), (0.5, 0)])
def test_what_hardens_nothing_is_refused(share, steps) -> None:
    with pytest.raises(ValueError, match="share in"):
        Hardening(share, BALL, steps)


def test_some_exemplars_are_attacked_and_the_others_are_left(bundle, digits) -> None:
    build_index(bundle, digits, quiet=True)
    clean = Bundle.open(bundle).index.export().embeddings
    hardening = Hardening(0.25, BALL)
    record = build_index(bundle, digits, hardening=hardening, quiet=True)
    opened = Bundle.open(bundle)
    hardened = opened.index.export().embeddings
    rows = hardening.rows(len(clean))
    others = np.setdiff1d(np.arange(len(clean)), rows)
    assert record.exemplars == len(clean)
    np.testing.assert_array_equal(hardened[others], clean[others])
    assert np.mean((hardened[rows] != clean[rows]).any(1)) > 0.99
    np.testing.assert_allclose(np.linalg.norm(hardened, axis=1), 1, atol=1e-5)
    flags = opened.exemplars.flags
    np.testing.assert_array_equal(np.flatnonzero(flags & Flag.ATTACKED), rows)
    assert record.disagreement_ratio == pytest.approx(np.mean(flags & Flag.DISAGREES > 0))
    # They were led away from their class: fewer of their neighbours are of it.
    own, before = (nearest(opened.index, embeddings[rows], 6).labels[:, 1:] for embeddings in (hardened, clean))
    truth = digits.train.labels[rows][:, None]
    assert np.mean(own == truth) < np.mean(before == truth)


def test_the_command_line_hardens(bundle, capsys) -> None:
    assert main([str(bundle), "--threads", "1", "--harden", "0.1", "--harden-within", "l2:0.5"]) == 0
    assert "130" in capsys.readouterr().out
    assert np.count_nonzero(Bundle.open(bundle).exemplars.flags & Flag.ATTACKED) == 130
    assert "--harden 0.1 --harden-within l2:0.5" in Bundle.open(bundle).manifest.index.command
    for wrong, said in (
        (("--harden-within", "linf:8/255"), "--harden"),
        (("--harden", "0.1", "--harden-within", "circle:3"), "circle:3"),
    ):
        assert main([str(bundle), "--threads", "1", *wrong]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit):
        main([str(bundle), "--harden", "2"])
    assert "--harden" in capsys.readouterr().err


def test_without_gradients_nothing_is_hardened(tmp_path, digits) -> None:
    blind = write_bundle(tmp_path / "blind", digits, gradient=False)
    assert main([str(blind), "--threads", "1", "--harden", "0.1"]) == 2
    assert not (blind / "index.faiss").exists()
