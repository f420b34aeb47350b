"""Counting operations and bytes, held against arithmetic."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from holdfast.trainer.cost.counting import Work, work_of, work_of_step
from holdfast.trainer.encoders import ResNetConfig, build_encoder, cost_of


@given(n=st.integers(1, 9), m=st.integers(1, 9), k=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_a_matrix_product_is_two_operations_for_each_pair_and_moves_three_matrices(n, m, k) -> None:
    one, other = torch.ones(n, k), torch.ones(k, m)
    assert work_of(lambda: one @ other) == Work(2 * n * m * k, 4 * (n * k + k * m + n * m))


def test_a_sum_moves_three_tensors_and_a_view_none() -> None:
    one = torch.ones(5, 7)
    assert work_of(lambda: one + one.T.T) == Work(0, 3 * 4 * 35)
    assert work_of(lambda: one.view(7, 5).flatten().detach()) == Work(0, 0)
    assert work_of(lambda: torch.empty(1000)) == Work(0, 0)


def test_a_row_that_is_repeated_is_read_once() -> None:
    row = torch.ones(1, 8).expand(100, 8)
    assert work_of(lambda: row * 2.0).bytes == 4 * (8 + 800)


def test_passes_of_an_encoder_are_counted_as_its_cost_says() -> None:
    encoder = build_encoder(ResNetConfig(4, 1, 8)).eval()
    pixels = torch.rand(3, 3, 32, 32)
    forwards = work_of(lambda: encoder(pixels)).operations
    assert forwards == 2 * 3 * cost_of(encoder).macs
    # Backwards to the weights and the maps below: twice as much, but for the first layer, below which there is nothing.
    stem = 2 * 3 * 27 * 4 * 256
    assert work_of(lambda: encoder(pixels).sum().backward()).operations == 3 * forwards - stem
    # To the pixels alone, as an attack does.
    encoder.requires_grad_(requires_grad=False)
    leaf = pixels.requires_grad_()
    assert work_of(lambda: torch.autograd.grad(encoder(leaf).sum(), leaf)).operations == 2 * forwards


def test_a_large_step_is_told_from_two_small_ones() -> None:
    layer = nn.Linear(6, 5, bias=False)

    def step(n: int) -> None:
        layer.zero_grad()
        F.relu(layer(torch.ones(n, 6))).sum().backward()
        with torch.no_grad():
            layer.weight.sub_(layer.weight.grad, alpha=0.1)

    step(1)
    found, counted = work_of_step(step, (2, 5), 64), work_of(lambda: step(64))
    assert (found.operations, found.bytes) == pytest.approx((counted.operations, counted.bytes))
