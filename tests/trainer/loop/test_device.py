"""Where a run is trained, and a GPU's settings."""

from dataclasses import replace

import pytest
import torch

from holdfast.errors import HoldfastError
from holdfast.trainer import train
from holdfast.trainer.loop.device import fast_kernels
from tests.trainer.tiny_runs import splits


def test_a_gpus_kernels_are_set_and_left_as_they_were() -> None:
    def now() -> tuple[bool, bool, bool]:
        return torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = now()
    with fast_kernels(torch.device("cuda")):
        assert now() == (True, False, False)
    assert now() == before
    with fast_kernels(torch.device("cpu")):
        assert now() == before


def test_a_gpu_that_is_not_there_is_said_so(two_stage_run, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HoldfastError, match="no GPU"):
        train.train(replace(two_stage_run, device="cuda"), splits())
