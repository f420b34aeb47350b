"""Embedding the labelled set on a GPU, which is stood in for but in the last test."""

from pathlib import Path

import numpy as np
import pytest

from holdfast import data
from holdfast.bundle import Bundle, read_manifest
from holdfast.bundle.threat_model import ThreatModel
from holdfast.errors import DeviceError
from holdfast.index_build import build_index
from holdfast.index_build.cli import main
from holdfast.index_build.harden import Hardening
from holdfast.index_build.streaming import parts
from holdfast.model.encoder import device
from holdfast.model.encoder.bucketed import BucketedEncoder
from holdfast.model.encoder.device import Placement, find_gpu
from holdfast.model.encoder.onnx import OnnxEncoder
from tests.holdfast.model.encoder.stand_in import NAME, pretend_gpu
from tests.index_build.test_index_build import write_bundle

AGREE = 2e-6
"""Embeddings in batches of other sizes, float32 of length 1."""


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", size=8, calibration=100)


@pytest.fixture
def bundle(tmp_path, digits):
    return write_bundle(tmp_path / "bundle", digits)


def missing() -> str:
    raise DeviceError("there is no GPU in this test")


def test_a_bundle_that_lacks_its_index_opens_on_the_gpu(bundle, monkeypatch):
    pretend_gpu(monkeypatch)
    opened = Bundle.open_encoder(bundle, device="cuda", max_batch=12)
    assert opened.placement == Placement("cuda", NAME)
    assert isinstance(opened.encoder, BucketedEncoder)
    assert opened.encoder.buckets == (1, 2, 4, 8, 12)
    assert Bundle.open_encoder(bundle).placement.device == "cpu"


@pytest.mark.parametrize("options", [{}, {"hardening": Hardening(0.1, ThreatModel("linf", 8 / 255)), "choose_vote": True}])
def test_an_index_embedded_there_is_the_index_embedded_here(tmp_path, digits, monkeypatch, options):
    here, there = (write_bundle(tmp_path / name, digits) for name in ("here", "there"))
    on_cpu = build_index(here, digits, quiet=True, **options)
    gpu = pretend_gpu(monkeypatch)
    on_gpu = build_index(there, digits, device="cuda", batch_size=100, quiet=True, **options)
    assert gpu.made == []  # the index that is verified is the CPU's
    assert gpu.gradients == (["cuda"] if options else [])
    assert on_gpu.recall_at_k == on_cpu.recall_at_k == 1
    assert on_gpu.disagreement_ratio == pytest.approx(on_cpu.disagreement_ratio, abs=0.002)
    mine, theirs = Bundle.open(there), Bundle.open(here)
    apart = np.abs(mine.index.export().embeddings - theirs.index.export().embeddings).max(axis=1)
    # An attack follows signs of slopes, and one that is nearly 0 may go by a last digit.
    assert (apart <= AGREE).mean() >= (0.99 if options else 1)
    assert mine.manifest.vote == theirs.manifest.vote
    labels = [each.classifier().classify(digits.test.images).labels for each in (mine, theirs)]
    assert (labels[0] == labels[1]).mean() >= 0.99


def test_the_program_says_where_and_the_manifest_keeps_the_command(bundle, monkeypatch, capsys):
    pretend_gpu(monkeypatch)
    assert main([str(bundle), "--threads", "1", "--device", "cuda"]) == 0
    assert f"embedding on cuda: {NAME}, in float32\n" in capsys.readouterr().err
    assert read_manifest(bundle).index.command.endswith("--threads 1 --device cuda")
    monkeypatch.setattr(device, "find_gpu", missing)
    assert main([str(bundle), "--threads", "1", "--device", "auto"]) == 0
    assert "embedding on cpu: there is no GPU in this test\n" in capsys.readouterr().err
    assert main([str(bundle), "--threads", "1", "--device", "cuda"]) == 2
    assert capsys.readouterr().err == "holdfast index: there is no GPU in this test\n"
    with pytest.raises(SystemExit):
        main([str(bundle), "--device", "tpu"])


class PowerCutError(Exception):
    pass


def test_parts_of_another_device_are_embedded_anew(bundle, digits, monkeypatch):
    monkeypatch.setattr(parts, "ROWS", 200)
    gpu_embedded: list[int] = []
    embed, run = OnnxEncoder.embed, BucketedEncoder._run

    def failing(self, images):
        if failing.left == 0:
            raise PowerCutError
        failing.left -= 1
        return embed(self, images)

    def until_cut(calls: int, choice: str) -> set[str]:
        with monkeypatch.context() as patch:
            failing.left = calls
            patch.setattr(OnnxEncoder, "embed", failing)
            with pytest.raises(PowerCutError):
                build_index(bundle, digits, batch_size=200, device=choice, quiet=True)
        return {path.name for path in (bundle / ".index_build").glob("*.npz")}

    assert len(until_cut(3, "cpu")) == 3
    pretend_gpu(monkeypatch)
    # Before the first batch that counts: batches of 1, 2, 4, ... 128 and 200 images, and the pictures that both devices embed.
    warming, compared = 9 + 1, 1
    assert len(until_cut(warming + compared + 2, "cuda")) == 2
    assert len(until_cut(warming + compared + 1, "cuda")) == 3
    monkeypatch.setattr(device, "find_gpu", lambda: "Another 4000")
    assert len(until_cut(warming + compared + 1, "auto")) == 1
    monkeypatch.setattr(BucketedEncoder, "_run", lambda self, images: gpu_embedded.append(len(images)) or run(self, images))
    build_index(bundle, digits, batch_size=200, device="auto", quiet=True)
    assert sum(gpu_embedded[warming:]) == len(digits.train) - 200 + len(digits.calibration)


@pytest.mark.gpu
def test_a_real_gpu_embeds_as_the_cpu_does(tmp_path: Path, digits):
    try:
        find_gpu()
    except DeviceError as error:
        pytest.skip(str(error))
    here, there = (write_bundle(tmp_path / name, digits) for name in ("here", "there"))
    build_index(here, digits, quiet=True)
    build_index(there, digits, device="cuda", quiet=True)
    embeddings = [Bundle.open(each).index.export().embeddings for each in (here, there)]
    np.testing.assert_allclose(*embeddings, rtol=0, atol=1e-4)
