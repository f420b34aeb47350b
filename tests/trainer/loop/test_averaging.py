"""The mean of the weights, held against torch's own."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.loop.averaging import MeanWeights, batches_for, estimate_statistics
from holdfast.trainer.objectives import ImageBatch, Objective


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


class Remembering(Objective):
    """Looks at each batch as it is, and counts what it has seen."""

    names = ("seen",)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.tensor(0))

    def terms(self, encoder, batch, generator):
        self.seen += len(batch)
        return {"seen": encoder(batch.pixels() + 0 * torch.rand((), generator=generator)).sum()}


def test_statistics_are_what_torch_estimates_of_the_same_batches_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(width=4, dim=8))
    for seed in range(3):
        step(encoder, seed)
    theirs, objective = copy.deepcopy(encoder), Remembering()
    pixels = torch.randint(0, 256, (48, 32, 32, 3), dtype=torch.uint8)
    batches = list(ImageBatch.whole(pixels, torch.zeros(48, dtype=torch.long)).chunks(16))
    estimate_statistics(encoder, objective, ((each, torch.Generator()) for each in batches))
    update_bn([each.pixels() for each in batches], theirs)
    for (name, mine), other in zip(encoder.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, other, msg=name)
    momenta = [each.momentum for module in (encoder, theirs) for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    assert set(momenta) == {0.1}
    assert int(objective.seen) == 0
    assert encoder.training
    assert all(parameter.grad is None for parameter in encoder.parameters())


@pytest.mark.parametrize(("steps", "batches"), [(1, 8), (80, 8), (300, 30), (11_500, 50)])
def test_statistics_are_estimated_on_a_tenth_of_the_steps_within_bounds(steps, batches) -> None:
    assert batches_for(steps) == batches


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
