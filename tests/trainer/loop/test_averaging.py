"""The mean of the weights, held against torch's own."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.loop.averaging import MeanWeights


def theirs_of(encoder, decay):
    return AveragedModel(encoder, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def step(encoder, seed):
    """Other weights, other statistics, and a counter that goes on."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
        encoder.train()(torch.rand(4, 3, 32, 32, generator=generator))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.998])
def test_it_is_torchs_mean_to_the_bit_and_either_goes_on_from_the_others_state(decay) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(width=4, dim=8)).to(memory_format=torch.channels_last)
    mine, theirs = MeanWeights(encoder, decay), theirs_of(encoder, decay)
    for seed in range(6):
        step(encoder, seed)
        mine.update(encoder)
        theirs.update_parameters(encoder)
        state, expected = mine.state_dict(), theirs.state_dict()
        assert list(state) == list(expected)
        for name, value in expected.items():
            assert torch.equal(state[name], value), name
            assert state[name].dtype == value.dtype
        if seed == 2:
            swapped = MeanWeights(encoder, decay), theirs_of(encoder, decay)
            swapped[0].load_state_dict(expected)
            swapped[1].load_state_dict(state)
            mine, theirs = swapped


class Devices(TorchDispatchMode):
    """Notes each operator that looks at more than one device."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        if len({tensor.device.type for tensor in tensors}) > 1:
            self.mixed.append(str(func))
        return result


def test_nothing_goes_between_host_and_device() -> None:
    # The meta device computes shapes alone: there would be nothing to read.
    encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to("meta")
    mine, theirs = MeanWeights(encoder, 0.9), theirs_of(encoder, 0.9)
    mixed = []
    for update in (mine.update, theirs.update_parameters):
        with Devices() as devices:
            for _ in range(3):
                update(encoder)
        mixed.append(devices.mixed)
    assert mixed[0] == []
    assert mixed[1]  # what is spared: this test would see it
