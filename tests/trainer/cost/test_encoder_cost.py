"""Parameters and multiply-accumulates, held against published sizes."""

import pytest
import torch

from holdfast.trainer.cost.encoder_cost import encoder_cost
from holdfast.trainer.encoders import AmdimConfig, ResNetConfig, build_encoder
from holdfast.trainer.objectives.contrastive.heads import Heads


def test_amdim_has_the_published_size() -> None:
    encoder = build_encoder(AmdimConfig(128, 1024, 3))
    heads = sum(parameter.numel() for parameter in Heads(encoder).parameters())
    cost = encoder_cost(encoder)
    assert (cost.parameters + heads) / 1e6 == pytest.approx(20, abs=0.3)
    # Each head is three 1x1 convolutions, at 5x5 and at 7x7 locations.
    head_macs = (25 + 49) * (2 * 512 * 1024 + 1024 * 1024)
    assert (cost.macs + head_macs) / 1e9 == pytest.approx(0.58, abs=0.01)


def test_four_stages_of_two_blocks_are_the_resnet_18_of_cifar() -> None:
    cost = encoder_cost(build_encoder(ResNetConfig(64, 2, 10, stages=4)))
    # As torchvision's, with a first convolution of 3x3 and stride 1: 11.17 M parameters, .56 GMAC.
    assert cost.parameters / 1e6 == pytest.approx(11.17, abs=0.01)
    assert cost.macs / 1e6 == pytest.approx(555.4, abs=0.1)


def test_cost_leaves_the_encoder_as_it_was() -> None:
    encoder = build_encoder(ResNetConfig(8, 1, 16))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    # 3x3x3 -> 8 at 16x16 is the first layer's share.
    assert encoder_cost(encoder).macs > 27 * 8 * 256
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder_cost(encoder) == encoder_cost(encoder)
