import pytest
import torch
import torch.nn.functional as F

from holdfast import data
from holdfast.attacks.quantise import to_pixels
from holdfast.bundle.manifest import DataRecord, ThreatModelRecord
from holdfast.bundle.reader import HEAD
from holdfast.bundle.writer import BundleWriter
from holdfast.model.preprocess import InputContract
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.export import rounding
from holdfast.trainer.export.graphs import export
from tests.bundles import add_exemplars, manifest
from tests.heads import head_of_means
from tests.shared import made_once


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
    return made_once(tmp_path_factory, "exported", lambda directory: complete(directory, encoder, digits))


@pytest.fixture(scope="session")
def exported_half(digits, encoder, tmp_path_factory):
    """The same with float16 weights, and a graph that computes in float16."""
    rounded = rounding.rounded(encoder)
    return made_once(tmp_path_factory, "exported-half", lambda directory: complete(directory, rounded, digits, half=True))


def complete(directory, encoder, digits, *, half=False):
    """A bundle of the encoder and of all training images."""
    writer = BundleWriter.create(directory)
    export(encoder, writer, InputContract(height=32, width=32), digits.train.images[:33], half=half)
    with torch.no_grad():
        bank = F.normalize(encoder(to_pixels(digits.train.images)), dim=1).numpy()
    _, record = add_exemplars(writer, bank, digits.train.labels, sources=digits.train.sources)
    writer.add(HEAD, head_of_means(bank, digits.train.labels, 10).save)
    written = manifest(
        32,
        24,
        digits.class_names,
        data=DataRecord(name="digits", sha256=digits.sha256, calibration=200, seed=0),
        threat_model=ThreatModelRecord(norm="linf", epsilon=32 / 255),
        index=record,
    )
    writer.commit(written)
    return directory
