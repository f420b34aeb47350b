from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from holdfast import data
from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.attacks.losses import Counts, TopK
from holdfast.attacks.noise import NoiseAttack
from holdfast.attacks.planted import planted_adversary
from holdfast.attacks.quantise import to_pixels
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import InputContract, fit
from holdfast.trainer.encoders import AmdimConfig, ResNetConfig, build_encoder
from holdfast.trainer.presets import PRESETS
from holdfast.trainer.train import train

LINF = ThreatModel("linf", 8 / 255)
SMALL_AMDIM = AmdimConfig(width=8, n_rkhs=64, depth=1)
SMALL_RESNET = ResNetConfig(width=8, dim=64)


def embedding(config):
    """A random encoder whose BatchNorm has seen images: without, all embeddings lie in one narrow cone."""
    torch.manual_seed(0)
    encoder = build_encoder(config)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        encoder.train()(to_pixels(images(64)))
    encoder.eval().requires_grad_(False)
    return lambda pixels: F.normalize(encoder(pixels), dim=1)


def images(count):
    """Blurred noise: it has large shapes, as photographs have."""
    coarse = np.random.default_rng(1).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    contract = InputContract(height=32, width=32)
    return np.stack([fit(image, contract) for image in coarse])


ENCODERS = [pytest.param(SMALL_AMDIM, id="amdim", marks=pytest.mark.slow), pytest.param(SMALL_RESNET, id="resnet")]


@pytest.mark.parametrize("config", ENCODERS)
def test_the_adaptive_attack_finds_the_plant(config):
    result = planted_adversary(embedding(config), images(12), LINF, AdaptiveAttack(), crowd=500)
    assert result.void == 0
    assert result.rate >= 0.95


@pytest.mark.parametrize("config", ENCODERS)
def test_noise_of_the_same_size_does_not(config):
    result = planted_adversary(embedding(config), images(12), LINF, NoiseAttack(), crowd=500)
    assert (result.cases, result.rate) == (12, 0.0)


@pytest.mark.parametrize("loss", [Counts(5), TopK(5)], ids=str)
def test_attacks_with_masked_gradients_fail_the_gate(loss):
    result = planted_adversary(embedding(SMALL_RESNET), images(12), LINF, AdaptiveAttack(losses=(loss,)), crowd=500)
    assert result.interval[1] < 0.95


def test_in_l2_too():
    embed, threat = embedding(SMALL_RESNET), ThreatModel("l2", 1.0)
    assert planted_adversary(embed, images(6), threat, AdaptiveAttack(), crowd=500).rate == 1
    assert planted_adversary(embed, images(6), threat, NoiseAttack(), crowd=500).rate == 0


def test_a_collapsed_encoder_makes_no_cases():
    def embed(pixels):
        return F.normalize(torch.ones(len(pixels), 4) + 0 * pixels.sum(), dim=1)

    result = planted_adversary(embed, images(2), LINF, NoiseAttack(), crowd=10)
    assert (result.cases, result.void) == (0, 2)
    assert result.interval == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("config", ENCODERS)
def test_over_a_hundred_cases(config):
    embed, many = embedding(config), images(100)
    assert planted_adversary(embed, many, LINF, AdaptiveAttack()).rate >= 0.95
    assert planted_adversary(embed, many, LINF, NoiseAttack()).rate == 0


@pytest.mark.slow
def test_over_a_hundred_cases_of_a_trained_encoder(tmp_path):
    digits, preset = data.load("digits"), PRESETS["digits-self-supervised"][1]
    short = replace(preset, stages=(replace(preset.stages[0], steps=60),), out=tmp_path, threads=1)
    encoder = train(short, digits).encoder.requires_grad_(False)

    def embed(pixels):
        return F.normalize(encoder(pixels), dim=1)

    many = digits.test.images[:100]
    ours = planted_adversary(embed, many, LINF, AdaptiveAttack())
    assert ours.cases >= 95
    assert ours.rate >= 0.95
    assert planted_adversary(embed, many, LINF, NoiseAttack()).rate == 0
    counts = planted_adversary(embed, many, LINF, AdaptiveAttack(losses=(Counts(5),)))
    assert counts.rate < 0.1
