import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from holdfast.trainer.export.gradient_graph import (
    DECOMPOSITIONS,
    GradientOfServed,
    ScaleAndShift,
    ServedEncoder,
    Untraceable,
    prepare,
    trace_gradient,
)

SIDE, DIM = 12, 6
aten = torch.ops.aten


class Unpadded(nn.Module):
    """In AMDIM's manner: no padding, an average-pooled shortcut with zero channels added, a BatchNorm behind a sum."""

    def __init__(self, activation):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), activation)
        self.conv1, self.norm1 = nn.Conv2d(4, 8, 4, 2, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, DIM, 4)
        self.activation = activation

    def forward(self, pixels):
        maps = self.stem((pixels - 0.4) / 0.2)
        shortcut = F.pad(F.avg_pool2d(maps, 4, 2), (0, 0, 0, 0, 0, 4))
        return self.last(self.norm2(shortcut + self.conv2(self.activation(self.norm1(self.conv1(maps)))))).flatten(1)


class Residual(nn.Module):
    """In the manner of a pre-activation net: BatchNorm before ReLU, strided padded convolutions, global pooling."""

    def __init__(self, activation):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(8, affine=False)
        self.conv1, self.conv2 = nn.Conv2d(4, 8, 3, 2, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.project = nn.Conv2d(4, 8, 1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, DIM))
        self.activation = activation

    def forward(self, pixels):
        maps = self.stem(pixels)
        change = self.conv1(self.activation(self.norm1(maps)))
        maps = self.project(F.avg_pool2d(maps, 2)) + self.conv2(self.activation(self.norm2(change)))
        return self.head(self.activation(maps))


def trained(encoder):
    """Give BatchNorms statistics and scales that differ from those of a fresh one."""
    torch.manual_seed(0)
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.affine:
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
    for _ in range(5):
        encoder(torch.rand(16, 3, SIDE, SIDE))
    return encoder.eval()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU])
@pytest.mark.parametrize("kind", [Unpadded, Residual])
def test_the_traced_gradient_is_autograds_at_every_batch_size(kind, activation):
    encoder = trained(kind(activation()))
    served = prepare(encoder)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in served.modules())
    traced = trace_gradient(served, (SIDE, SIDE, 3), DIM)
    assert not {"backward", "batch_norm"} & {
        word for node in traced.graph.nodes for word in ("backward", "batch_norm") if word in str(node.target)
    }
    for batch in (1, 2, 7):
        pixels, cotangents = torch.rand(batch, SIDE, SIDE, 3), torch.randn(batch, DIM)
        leaf = pixels.clone().requires_grad_()
        embeddings = F.normalize(encoder(leaf.permute(0, 3, 1, 2)), dim=1)
        torch.testing.assert_close(served.embed(pixels), embeddings.detach(), rtol=0, atol=1e-5)
        (expected,) = torch.autograd.grad((embeddings * cotangents).sum(), leaf)
        found = traced(pixels, cotangents)
        assert (found - expected).norm() <= 1e-4 * expected.norm()


def test_a_convolution_called_twice_keeps_its_weights():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

        def forward(self, pixels):
            return self.conv(self.norm(self.conv(pixels))).mean((2, 3))

    encoder = trained(Shared())
    pixels = torch.rand(2, SIDE, SIDE, 3)
    served = prepare(encoder)
    assert any(isinstance(layer, ScaleAndShift) for layer in served.modules())
    torch.testing.assert_close(served.embed(pixels), F.normalize(encoder(pixels.permute(0, 3, 1, 2)), dim=1), rtol=0, atol=1e-6)


def test_preparing_leaves_the_encoder_as_it_was():
    encoder = Residual(nn.ReLU()).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    prepare(encoder)
    assert encoder.training
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_a_null_embedding_has_no_nan():
    class Null(nn.Module):
        def forward(self, pixels):
            return pixels.flatten(1)[:, :DIM] * 0

    served = ServedEncoder(Null())
    pixels = torch.rand(2, SIDE, SIDE, 3)
    assert torch.equal(served.embed(pixels), torch.zeros(2, DIM))
    assert torch.equal(GradientOfServed(served)(pixels, torch.ones(2, DIM)), torch.zeros_like(pixels))


@settings(max_examples=150)
@given(
    side=st.integers(1, 9),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 4),
    dilation=st.integers(1, 2),
    groups=st.integers(1, 2),
)
def test_convolutions_backward(side, window, stride, padding, dilation, groups):  # noqa: PLR0917
    assume(all(side + 2 * padding >= dilation * (w - 1) + 1 for w in window))
    maps = torch.rand(2, 2 * groups, side, side + 1, requires_grad=True)
    weight = torch.randn(3 * groups, 2, *window)
    out = F.conv2d(maps, weight, None, stride, padding, dilation, groups)
    gradient = torch.randn_like(out)
    (expected,) = torch.autograd.grad(out, maps, gradient)
    found, *others = DECOMPOSITIONS[aten.convolution_backward.default](
        gradient, maps.detach(), weight, None, [stride] * 2, [padding] * 2, [dilation] * 2, False, [0, 0], groups, []
    )
    assert others == [None, None]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=100)
@given(side=st.integers(4, 11), tile=st.integers(1, 3), times=st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_average_pools_backward(side, tile, times):
    window = [tile * n for n in times]
    assume(max(window) <= side)
    maps = torch.rand(2, 3, side, side, requires_grad=True)
    out = F.avg_pool2d(maps, window, tile)
    gradient = torch.randn_like(out)
    (expected,) = torch.autograd.grad(out, maps, gradient)
    found = DECOMPOSITIONS[aten.avg_pool2d_backward.default](
        gradient, maps.detach(), window, [tile, tile], [0, 0], False, True, None
    )
    torch.testing.assert_close(found, expected)


@settings(max_examples=15, deadline=None)
@given(
    pool=st.sampled_from([F.max_pool2d, F.avg_pool2d]),
    window=st.tuples(st.integers(2, 4), st.integers(2, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    first=st.integers(-SIDE, 0),
)
def test_pools_and_slices_have_their_gradient(pool, window, stride, first):
    class Pooled(nn.Module):
        def forward(self, pixels):
            padding = {"padding": 1} if pool is F.max_pool2d else {}
            maps = pool(pixels, window, stride, **padding)
            return maps[:, 1:, :, first:].mean((2, 3)) + maps[:, :, 0, -1][:, :2]

    encoder = Pooled()
    traced = trace_gradient(prepare(encoder), (SIDE, SIDE, 3), 2)
    pixels, cotangents = torch.rand(3, SIDE, SIDE, 3), torch.randn(3, 2)
    leaf = pixels.clone().requires_grad_()
    embeddings = F.normalize(encoder(leaf.permute(0, 3, 1, 2)), dim=1)
    (expected,) = torch.autograd.grad((embeddings * cotangents).sum(), leaf)
    torch.testing.assert_close(traced(pixels, cotangents), expected, rtol=1e-4, atol=1e-6)


def test_layers_whose_gradient_is_not_traced_are_refused():
    class Overlapping(nn.Module):
        def forward(self, pixels):
            return F.avg_pool2d(pixels, 3, 2, padding=1).flatten(1)

    with pytest.raises(Untraceable, match="padding"):
        trace_gradient(prepare(Overlapping()), (SIDE, SIDE, 3), 108)
    with pytest.raises(Untraceable, match="running statistics"):
        prepare(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten()))
