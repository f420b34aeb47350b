import pytest
import torch
from torch import nn

from holdfast.trainer.encoders import AmdimConfig, ResNetConfig, build_encoder
from holdfast.trainer.encoders.amdim import ResNxN
from holdfast.trainer.objectives.contrastive.heads import Heads

CONFIGS = [
    AmdimConfig(8, 16, 1),
    AmdimConfig(8, 64, 3, batch_norm=False, activation="silu"),
    AmdimConfig(4, 16, 2, image_size=64),
    ResNetConfig(8, 1, 16),
    ResNetConfig(8, 2, 16, image_size=64, activation="silu"),
    ResNetConfig(4, 2, 16, stages=4),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_maps_have_the_promised_shapes_and_all_weights_learn(config) -> None:
    encoder = build_encoder(config)
    pixels = torch.rand(3, 3, config.image_size, config.image_size)
    maps = Heads(encoder)(encoder.features(pixels))
    assert maps[1].shape == (3, encoder.dim, 1, 1)
    assert all(maps[level].shape[:2] == (3, encoder.dim) for level in (5, 7))
    assert encoder(pixels).shape == (3, encoder.dim)
    for module in encoder.modules():
        if isinstance(module, ResNxN):
            nn.init.normal_(module.conv2.weight, 0, 0.1)
    encoder(pixels).square().mul(torch.rand(3, encoder.dim)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in encoder.parameters())


@pytest.mark.parametrize(("config", "sizes"), [(AmdimConfig(4, 8, 1), (7, 5)), (AmdimConfig(4, 8, 1, 64), (7, 5))])
def test_amdim_shrinks_to_7_5_1_without_padding(config, sizes) -> None:
    maps = build_encoder(config).features(torch.rand(2, 3, config.image_size, config.image_size))
    assert (maps[7].shape[2], maps[5].shape[2]) == sizes
    assert maps[1].shape[2:] == (1, 1)


def test_amdim_sees_windows_of_8_and_16_pixels() -> None:
    encoder = build_encoder(AmdimConfig(4, 8, 2)).eval()
    pixels = torch.rand(1, 3, 32, 32, requires_grad=True)
    for level, window in ((7, 8), (5, 16)):
        (gradient,) = torch.autograd.grad(encoder.features(pixels)[level][0, :, 0, 0].sum(), pixels)
        rows, columns = gradient[0].abs().sum(0).nonzero(as_tuple=True)
        assert (int(rows.max()), int(columns.max())) == (window - 1, window - 1)


@pytest.mark.parametrize("stages", [3, 4])
@pytest.mark.parametrize("size", [32, 64])
def test_maps_of_a_residual_net_lie_at_a_quarter_and_an_eighth(stages, size) -> None:
    encoder = build_encoder(ResNetConfig(4, 1, 8, image_size=size, stages=stages))
    maps = encoder.features(torch.rand(2, 3, size, size))
    assert maps[7].shape == (2, encoder.widths[7], size // 4, size // 4)
    assert maps[5].shape == (2, encoder.widths[5], size // 8, size // 8)


def test_three_stages_are_the_net_that_there_was_before_there_was_a_choice() -> None:
    state = build_encoder(ResNetConfig(4, 1, 8)).state_dict()
    for name, shape in (
        ("to7.0.weight", (4, 3, 3, 3)),
        ("to7.2.0.conv1.weight", (8, 4, 3, 3)),
        ("to5.0.project.weight", (16, 8, 1, 1)),
    ):
        assert state[name].shape == shape
    assert "to7.3.0.conv1.weight" not in state
    assert "to7.3.0.conv1.weight" in build_encoder(ResNetConfig(4, 1, 8, stages=4)).state_dict()


def test_a_fresh_residual_unit_is_its_shortcut() -> None:
    unit = ResNxN(4, 6, 2, 2, AmdimConfig())
    maps = torch.rand(2, 4, 8, 8)
    out = unit(maps)
    assert torch.allclose(out[:, :4], nn.functional.avg_pool2d(maps, 2, 2))
    assert not out[:, 4:].any()


def test_normalisation_lives_inside_and_survives_flat_channels() -> None:
    encoder = build_encoder(ResNetConfig(8, 1, 16))
    images = torch.randint(0, 256, (50, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[..., 2] = 7
    encoder.normalise.fit(images)
    out = encoder.normalise(images.permute(0, 3, 1, 2) / 255)
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(out[:, :2].std((0, 2, 3)), torch.ones(2), atol=1e-3)
    assert out.isfinite().all()
    assert {"normalise.mean", "normalise.std"} <= encoder.state_dict().keys()
