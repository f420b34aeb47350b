import numpy as np
import pytest
import torch
import torch.nn.functional as F

from holdfast import data
from holdfast.attacks.quantise import to_pixels
from holdfast.bundle.exemplars import Exemplars
from holdfast.bundle.manifest import DataRecord, IndexRecord, Manifest, ThreatModelRecord, Training
from holdfast.bundle.writer import BundleWriter
from holdfast.model.preprocess import InputContract
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.export import rounding
from holdfast.trainer.export.graphs import export


@pytest.fixture(scope="session")
def digits():
    return data.load("digits")


@pytest.fixture(scope="session")
def encoder(digits):
    """Random convolutions: enough to tell most digits apart, and easily fooled."""
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(width=8, dim=24))
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        encoder.train()(to_pixels(digits.train.images[:256]))
    return encoder.eval()


@pytest.fixture(scope="session")
def exported(digits, encoder, tmp_path_factory):
    return complete(tmp_path_factory.mktemp("bundle") / "tiny", encoder, digits)


@pytest.fixture(scope="session")
def exported_half(digits, encoder, tmp_path_factory):
    """The same with float16 weights, and a graph that computes in float16."""
    return complete(tmp_path_factory.mktemp("half") / "tiny", rounding.rounded(encoder), digits, half=True)


def complete(directory, encoder, digits, *, half=False):
    """A bundle of the encoder and of all training images."""
    writer = BundleWriter.create(directory)
    export(encoder, writer, InputContract(height=32, width=32), digits.train.images[:33], half=half)
    with torch.no_grad():
        bank = F.normalize(encoder(to_pixels(digits.train.images)), dim=1).numpy()
    ids = np.arange(len(bank))
    writer.add("index.faiss", FlatIndex.build(bank, ids).save)
    columns = ids, digits.train.labels, np.array(digits.train.sources), np.zeros(len(ids), dtype=np.uint8)
    writer.add("exemplars.npz", Exemplars(*columns).save)
    record = DataRecord(name="digits", sha256=digits.sha256, calibration=200, seed=0)
    provenance = {"command": "none", "commit": "none", "objective": "none", "encoder": "random"}
    writer.commit(
        Manifest(
            name="tiny",
            created="2026-01-01T00:00:00+00:00",
            input=InputContract(height=32, width=32),
            embedding_dim=24,
            class_names=digits.class_names,
            vote=VoteParameters(k=5),
            threat_model=ThreatModelRecord(norm="linf", epsilon=32 / 255),
            training=Training(seed=0, steps=0, seconds=0, data=record, **provenance),
            index=IndexRecord(exemplars=len(ids), recall_at_k=1, disagreement_ratio=0, command="none"),
        )
    )
    return directory
