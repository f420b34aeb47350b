from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from holdfast.model.preprocess import InputContract
from holdfast.trainer.encoders.activations import Activation, SmoothReLU, activation_layer
from holdfast.trainer.export.graphs import export

NAMES = get_args(Activation)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "relu"])
def test_smooth_ones_have_a_slope_without_jumps(name) -> None:
    layer = activation_layer(name)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(1.0)  # at its 400 the slope of SmoothReLU rises within a hundredth
    maps = torch.linspace(-4, 4, 8001, dtype=torch.double, requires_grad=True)
    (slope,) = torch.autograd.grad(layer.double()(maps).sum(), maps)
    assert slope.diff().abs().max() < 0.01


def test_relu_has_one() -> None:
    maps = torch.tensor([-1e-6, 1e-6], requires_grad=True)
    (slope,) = torch.autograd.grad(activation_layer("relu")(maps).sum(), maps)
    assert slope.tolist() == [0, 1]


@given(st.floats(-50, 50), st.floats(0.5, 1000))
def test_smoothrelu_is_its_formula(x, a) -> None:
    expected = x - np.log(a * x + 1) / a if x >= 0 else 0.0
    found = SmoothReLU(a).double()(torch.tensor(x, dtype=torch.double)).item()
    assert found == pytest.approx(expected, abs=1e-5)


def test_smoothrelu_nears_relu_and_learns_its_sharpness() -> None:
    layer = SmoothReLU()
    maps = torch.linspace(-2, 2, 101)
    assert (layer(maps) - maps.relu()).abs().max() < 0.02
    layer(maps).sum().backward()
    assert layer.log_sharpness.grad.abs() > 0


@pytest.mark.slow
def test_every_one_can_be_exported_with_its_gradient(tmp_path) -> None:
    torch.manual_seed(0)
    layers = [layer for name in NAMES for layer in (nn.Conv2d(4, 4, 3, padding=1), activation_layer(name))]
    encoder = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), *layers, nn.Flatten(), nn.Linear(16, 5)).eval()
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    parity = export(encoder, tmp_path, InputContract(height=8, width=8), images)
    assert parity.embeddings < 1e-5
    assert parity.gradients < 1e-4
