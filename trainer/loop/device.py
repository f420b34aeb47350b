"""CPU and GPU by one code path: where tensors live, and in which precision they are multiplied."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from holdfast.data import LabelledImages
from holdfast.torch_device import device_named
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.objectives import ImageBatch


def device_of(config: TrainConfig) -> torch.device:
    """Where to train. Raises as `device_named`."""
    return device_named(config.device)


def replicas_of(config: TrainConfig, device: torch.device) -> int:
    """Into how many shards a batch is split: one for each CPU thread; a GPU takes it whole."""
    return config.threads if device.type == "cpu" else 1


def precision_of(config: TrainConfig, device: torch.device) -> torch.autocast:
    """Mixed precision, where the hardware multiplies bfloat16 itself: emulated, it would be slower than float32."""
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        fast = bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    else:
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    # Autocast's cache of rounded weights is one for all threads, and the first thread to end a step empties it: gradients of
    # weights that are used twice would then differ from run to run. Without, they are also added up in float32.
    enabled = config.precision == "bfloat16" and fast
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


def compute_dtype(precision: torch.autocast) -> torch.dtype:
    """The dtype that convolutions multiply in under a mixed precision: float32 where it is switched off."""
    enabled: bool = precision._enabled  # noqa: SLF001 - there is no other way to ask
    return precision.fast_dtype if enabled else torch.float32


def to_device(images: LabelledImages, device: torch.device) -> ImageBatch:
    """The whole set as tensors where the training runs: uint8, so 50,000 CIFAR images are 150 MB."""
    return ImageBatch.whole(torch.from_numpy(images.images).to(device), torch.from_numpy(images.labels).to(device))


def sync_every(device: torch.device) -> int:
    """Steps between two reads of what was measured: one on a CPU; more on a GPU, which is idle during a read."""
    return 1 if device.type == "cpu" else 25


@contextmanager
def fast_kernels(device: torch.device) -> Iterator[None]:
    """On a GPU: try cuDNN's convolutions at each shape and keep the fastest; and float32 means float32, without TF32.

    Convolutions are fast in bfloat16. What is float32 beside them, above all similarities over a small temperature, needs its
    digits, and TF32 has as few as float16. The fastest kernels differ from run to run, and so do last digits. Afterwards the
    settings are what they were.
    """
    if device.type == "cpu":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, False, False
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
