"""BatchNorm's statistics, held against torch's own way to them."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import statistics
from holdfast.trainer.objectives.base import ImageBatch
from holdfast.trainer.objectives.statistics import estimate_batchnorm


def images(count: int) -> ImageBatch:
    pixels = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageBatch.whole(pixels, torch.zeros(count, dtype=torch.long))


def norms(encoder: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]


def test_they_are_what_torch_estimates_of_the_same_batches(monkeypatch) -> None:
    monkeypatch.setattr(statistics, "AT_ONCE", 16)
    torch.manual_seed(0)
    mine = build_encoder(ResNetConfig(width=4, dim=8)).eval()
    theirs, some = copy.deepcopy(mine), images(48)
    estimate_batchnorm(mine, some, 5)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(5))
    update_bn([some.at(places).pixels() for places in order.tensor_split(3)], theirs)
    for one, other in zip(norms(mine), norms(theirs), strict=True):
        torch.testing.assert_close(one.running_mean, other.running_mean)
        torch.testing.assert_close(one.running_var, other.running_var)
        assert one.momentum == other.momentum
    assert not mine.training


def test_of_very_many_images_some_are_enough(monkeypatch) -> None:
    monkeypatch.setattr(statistics, "MOST", 24)
    encoder = build_encoder(ResNetConfig(width=4, dim=8))
    looked_at = []
    encoder.register_forward_hook(lambda _, pixels, __: looked_at.append(len(pixels[0])))
    estimate_batchnorm(encoder, images(60), 0)
    assert sum(looked_at) == 24
    assert encoder.training


def test_what_has_no_batchnorm_is_left_alone() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    estimate_batchnorm(encoder, images(8), 0)  # type: ignore[arg-type]
