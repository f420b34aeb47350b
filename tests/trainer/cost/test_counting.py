"""Counting operations and bytes, held against arithmetic."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from holdfast.trainer.cost.counting import OperationCount, count_operations, count_step_operations
from holdfast.trainer.cost.encoder_cost import encoder_cost
from holdfast.trainer.encoders import ResNetConfig, build_encoder


@given(n=st.integers(1, 9), m=st.integers(1, 9), k=st.integers(1, 9))
@settings(max_examples=20)
def test_a_matrix_product_is_two_operations_for_each_pair_and_moves_three_matrices(n, m, k) -> None:
    one, other = torch.ones(n, k), torch.ones(k, m)
    assert count_operations(lambda: one @ other) == OperationCount(2 * n * m * k, 4 * (n * k + k * m + n * m))


def test_a_sum_moves_three_tensors_and_a_view_none() -> None:
    one = torch.ones(5, 7)
    assert count_operations(lambda: one + one.T.T) == OperationCount(0, 3 * 4 * 35)
    assert count_operations(lambda: one.view(7, 5).flatten().detach()) == OperationCount(0, 0)
    assert count_operations(lambda: torch.empty(1000)) == OperationCount(0, 0)


def test_a_row_that_is_repeated_is_read_once() -> None:
    row = torch.ones(1, 8).expand(100, 8)
    assert count_operations(lambda: row * 2.0).bytes == 4 * (8 + 800)


def test_passes_of_an_encoder_are_counted_as_its_cost_says() -> None:
    encoder = build_encoder(ResNetConfig(4, 1, 8)).eval()
    pixels = torch.rand(3, 3, 32, 32)
    forwards = count_operations(lambda: encoder(pixels)).operations
    assert forwards == 2 * 3 * encoder_cost(encoder).macs
    # Backwards to the weights and the maps below: twice as much, but for the first layer, below which there is nothing.
    stem = 2 * 3 * 27 * 4 * 256
    assert count_operations(lambda: encoder(pixels).sum().backward()).operations == 3 * forwards - stem
    # To the pixels alone, as an attack does.
    encoder.requires_grad_(requires_grad=False)
    leaf = pixels.requires_grad_()
    assert count_operations(lambda: torch.autograd.grad(encoder(leaf).sum(), leaf)).operations == 2 * forwards


def test_a_large_step_is_extrapolated_from_two_small_ones() -> None:
    layer = nn.Linear(6, 5, bias=False)

    def step(n: int) -> None:
        layer.zero_grad()
        F.relu(layer(torch.ones(n, 6))).sum().backward()
        with torch.no_grad():
            layer.weight.sub_(layer.weight.grad, alpha=0.1)

    step(1)
    found, counted = count_step_operations(step, (2, 5), 64), count_operations(lambda: step(64))
    assert (found.operations, found.bytes) == pytest.approx((counted.operations, counted.bytes))
