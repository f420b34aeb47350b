"""From a trained encoder to the two graphs of a bundle, which are held against torch before anything is written."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import fx, nn

from bundle.bundle import ENCODER, GRADIENT, BundleWriter
from bundle.encoder import OnnxEncoder, OnnxGradient
from bundle.errors import HoldfastError
from bundle.files import write_atomically
from bundle.preprocess import InputContract, Pixels
from trainer.gradient_graph import Untraceable, prepare, trace_gradient
from trainer.half_weights import halve

Floats = NDArray[np.float32]

TOLERANCE = 1e-4
BATCHES = (1, 4, 33)
IMAGES = 33
# Share of the images whose gradients must agree; see `_compare_gradients`.
AGREEING = 0.75


class ExportError(HoldfastError):
    """An encoder that cannot be written as ONNX graphs."""


class ExportMismatchError(ExportError):
    """A graph that computes something else than the encoder. `difference` is the largest, or the relative one, found."""

    def __init__(self, message: str, difference: float) -> None:
        super().__init__(message)
        self.difference = difference


@dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime and torch lie apart.

    embeddings: the largest absolute difference of any number of any embedding.
    gradients: the relative difference |a - b| / |b| of the median image.
    at_kinks: share of the images whose gradient differs by more than the tolerance, all at kinks of ReLUs.
    """

    embeddings: float
    gradients: float
    at_kinks: float


def export(
    encoder: nn.Module,
    destination: BundleWriter | Path,
    contract: InputContract,
    images: Pixels | None = None,
    *,
    half: bool = False,
) -> Parity:
    """Write encoder.onnx and gradient.onnx, if both compute what the encoder computes in torch.

    The encoder itself is left as it is, on its device and in its mode.

    Args:
        encoder: float [N, 3, H, W] in [0, 1] -> float [N, D], not yet of unit length.
        destination: a bundle's writer, or a directory.
        contract: height and width that the graphs are fixed to; the batch stays free.
        images: some real images, uint8 [n, H, W, 3], to compare on besides random ones.
        half: store weights that float16 holds exactly as float16 (see `rounded`); what is computed is the same.

    Returns:
        The differences found, all within tolerance.

    Raises:
        ExportError: an operator that has no ONNX form here.
        ExportMismatchError: a graph differs from torch by more than 1e-4. Nothing has been written.

    """
    reference = deepcopy(encoder).cpu().float().eval().requires_grad_(requires_grad=False)
    with tempfile.TemporaryDirectory(prefix="holdfast-export-") as name:
        folder = Path(name)
        try:
            write_graphs(reference, folder, contract, half=half)
        except (Untraceable, fx.proxy.TraceError, torch.onnx.OnnxExporterError) as error:
            raise ExportError(f"{type(encoder).__name__} cannot be exported: {error}") from error
        parity = check_parity(reference, folder, _samples(contract, images))
        for file in (ENCODER, GRADIENT):
            content = (folder / file).read_bytes()
            if isinstance(destination, BundleWriter):
                destination.add(file, partial(Path.write_bytes, data=content))
            else:
                write_atomically(destination / file, content)
    return parity


def write_graphs(encoder: nn.Module, folder: Path, contract: InputContract, *, half: bool = False) -> None:
    """Write both graphs into `folder`, unchecked."""
    # Folded into a weight, BatchNorm would make of a number that float16 holds one that it does not.
    served = prepare(encoder, fold=not half)
    blank = torch.zeros(3, *contract.shape, dtype=torch.uint8)
    with torch.no_grad():
        dim = served(blank).shape[1]
    gradient = trace_gradient(served, contract.shape, dim).eval()
    pixels, cotangents = torch.zeros(blank.shape), torch.zeros(len(blank), dim)
    _write(served, folder / ENCODER, {"images": blank}, "embeddings", half=half)
    _write(gradient, folder / GRADIENT, {"pixels": pixels, "cotangents": cotangents}, "gradients", half=half)


def _write(module: nn.Module, path: Path, inputs: dict[str, torch.Tensor], output: str, *, half: bool) -> None:
    with _quiet():
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple({0: "batch"} for _ in inputs),
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx.export returned nothing")
    model: Any = program.model_proto
    # The exporter notes each operator's Python stack: paths of this machine, which no bundle should carry.
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    if half:
        halve(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter says about itself; anything else it warns of is still heard."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)  # says that torchvision is not installed
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
            warnings.filterwarnings("ignore", "# The axis name: batch will not be used", UserWarning)
            yield
    finally:
        registration.setLevel(level)


def _samples(contract: InputContract, images: Pixels | None) -> dict[str, Pixels]:
    random = np.random.default_rng(0)
    samples = {"random": random.integers(0, 256, (IMAGES, *contract.shape), dtype=np.uint8)}
    if images is not None and len(images):
        # Repeated where there are fewer: every batch size is tried in any case.
        samples["real"] = np.resize(images, (IMAGES, *contract.shape))
    return samples


def check_parity(reference: nn.Module, folder: Path, samples: dict[str, Pixels]) -> Parity:
    """Compare both graphs in `folder` with torch, on each sample of images and at each batch size.

    reference: the encoder on the CPU in evaluation mode, BatchNorm and all.

    Raises:
        ExportMismatchError: they differ by more than the tolerance.

    """
    encoder, gradient = OnnxEncoder(folder / ENCODER), OnnxGradient(folder / GRADIENT)
    found = []
    for kind, images in samples.items():
        cotangents = np.random.default_rng(1).standard_normal((len(images), encoder.dim), dtype=np.float32)
        embeddings, gradients = _in_torch(reference, images, cotangents)
        pixels = images.astype(np.float32) / np.float32(255)
        for size in BATCHES:
            where = f"on {kind} images in batches of {size}"
            parts = [slice(i, i + size) for i in range(0, len(images), size)]
            ours = np.concatenate([encoder.embed(images[part]) for part in parts])
            largest = _compare_embeddings(ours, embeddings, where)
            ours = np.concatenate([gradient.vjp(pixels[part], cotangents[part]) for part in parts])
            found.append((largest, *_compare_gradients(ours, gradients, where)))
    return Parity(*(max(column) for column in zip(*found, strict=True)))


def _in_torch(reference: nn.Module, images: Pixels, cotangents: Floats) -> tuple[Floats, Floats]:
    pixels = (torch.from_numpy(images).float() / 255).requires_grad_()
    embeddings = F.normalize(reference(pixels.permute(0, 3, 1, 2).contiguous()), dim=1)
    (gradients,) = torch.autograd.grad((embeddings * torch.from_numpy(cotangents)).sum(), pixels)
    return embeddings.detach().numpy(), gradients.numpy()


def _compare_embeddings(ours: Floats, expected: Floats, where: str) -> float:
    largest = float(np.abs(ours - expected).max())
    if not largest <= TOLERANCE:  # and not the other way round: NaN is a mismatch too
        raise ExportMismatchError(
            f"{ENCODER} differs from torch by up to {largest:.2e} {where}; {TOLERANCE:.0e} is allowed", largest
        )
    return largest


def _compare_gradients(ours: Floats, expected: Floats, where: str) -> tuple[float, float]:
    """Return (relative difference of the median image, share of images beyond the tolerance).

    A unit whose input lies within rounding of a ReLU's kink has two right gradients, and torch and ONNX Runtime may take
    either: a few of a hundred images then differ by percents, and all others by 1e-6. A wrong graph is wrong on all.
    """
    difference = np.linalg.norm((ours - expected).reshape(len(ours), -1), axis=1)
    length = np.linalg.norm(expected.reshape(len(ours), -1), axis=1)
    relative: NDArray[Any] = difference / np.maximum(length, np.finfo(np.float32).tiny)
    beyond = float(np.mean(~(relative <= TOLERANCE)))
    if beyond > 1 - AGREEING:
        largest = float(relative.max())
        raise ExportMismatchError(
            f"{GRADIENT} differs from torch on {beyond:.0%} of the images, by up to {largest:.2e} relative, {where}; "
            f"{TOLERANCE:.0e} is allowed",
            largest,
        )
    return float(np.median(relative)), beyond
