"""The roofline of this machine."""

import torch

from holdfast.trainer.cost.counting import OperationCount
from holdfast.trainer.cost.roofline import Roofline, measure_roofline


def test_measuring_finds_something_and_leaves_torchs_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    found = measure_roofline(torch.device("cpu"), torch.float32, before + 1)
    assert torch.get_num_threads() == before
    assert found.operations > 0
    assert found.bytes > 0


def test_lower_bounds_are_by_operations_and_by_bytes() -> None:
    assert Roofline(100.0, 10.0).lower_bounds(OperationCount(200, 5)) == (2.0, 0.5)
