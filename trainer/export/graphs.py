"""From a trained encoder to the graphs of a bundle, which are compared with torch before anything is written."""

import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import ModelProto
from torch import fx, nn

from holdfast.bundle.reader import ENCODER, ENCODER_FLOAT16, GRADIENT, WEIGHTS
from holdfast.bundle.writer import BundleWriter
from holdfast.files import write_atomically
from holdfast.importing import large_models
from holdfast.importing.large_models import weight_bytes, write_model
from holdfast.model.encoder.agreement import FLOAT16_TOLERANCE
from holdfast.model.preprocess import InputContract, Pixels
from holdfast.trainer.export.float16_graph import BeyondFloat16Error, in_float16
from holdfast.trainer.export.gradient_graph import ServedEncoder, Untraceable, prepare, trace_gradient
from holdfast.trainer.export.half_weights import halve
from holdfast.trainer.export.parity import EMULATED, ExportError, Parity, check_parity, float16_distance
from holdfast.trainer.export.shared_weights import share_weights

IMAGES = 33

_UNTRACEABLE = (Untraceable, fx.proxy.TraceError, torch.onnx.OnnxExporterError, NotImplementedError, RuntimeError)
"""What an encoder raises whose gradient has an operator without an ONNX form."""


def export(
    encoder: nn.Module,
    destination: BundleWriter | Path,
    contract: InputContract,
    images: Pixels | None = None,
    *,
    half: bool = False,
    needs_gradient: bool = True,
) -> Parity:
    """Write encoder.onnx and gradient.onnx, if both compute what the encoder computes in torch.

    With `half` also encoder_float16.onnx, for GPUs, unless float16 takes embeddings too far away; all of them over one file
    weights.bin. The encoder itself is left as it is, on its device and in its mode.

    Args:
        encoder: float [N, 3, H, W] in [0, 1] -> float [N, D], not yet of unit length.
        destination: a bundle's writer, or a directory.
        contract: height and width that the graphs are fixed to; the batch stays free.
        images: some real images, uint8 [n, H, W, 3], to compare on besides random ones.
        half: store weights that float16 holds exactly as float16 (see `rounded`); what the two graphs compute is the same.
        needs_gradient: refuse an encoder whose gradient cannot be traced; else it is written without gradient.onnx.

    Returns:
        The differences found, all within tolerance, and why there is no encoder_float16.onnx or gradient.onnx where it was not
        written.

    Raises:
        ExportError: an operator that has no ONNX form here.
        ExportMismatchError: a graph differs from torch by more than 1e-4. Nothing has been written.

    """
    reference = deepcopy(encoder).cpu().float().eval().requires_grad_(requires_grad=False)
    with tempfile.TemporaryDirectory(prefix="holdfast-export-") as name:
        folder = Path(name)
        try:
            lacking = write_graphs(reference, folder, contract, half=half, needs_gradient=needs_gradient)
        except (Untraceable, fx.proxy.TraceError, torch.onnx.OnnxExporterError) as error:
            raise ExportError(f"{type(encoder).__name__} cannot be exported: {error}") from error
        samples = _samples(contract, images)
        parity = replace(check_parity(reference, folder, samples), lacking=lacking.float16, untraced=lacking.gradient)
        if (folder / ENCODER_FLOAT16).exists():
            parity = _check_float16(parity, reference, folder, samples)
        for file in (WEIGHTS, ENCODER, GRADIENT, ENCODER_FLOAT16):
            if not (folder / file).exists():
                continue
            content = (folder / file).read_bytes()
            if isinstance(destination, BundleWriter):
                destination.add(file, partial(Path.write_bytes, data=content))
            else:
                write_atomically(destination / file, content)
    return parity


def _check_float16(parity: Parity, reference: nn.Module, folder: Path, samples: dict[str, Pixels]) -> Parity:
    """Keep encoder_float16.onnx if it is near enough; a bundle can be served in float32 without it."""
    distance = float16_distance(reference, folder, samples)
    if distance <= FLOAT16_TOLERANCE:
        return replace(parity, float16=distance)
    (folder / ENCODER_FLOAT16).unlink()
    lacking = f"float16 moves an embedding by a cosine distance of {distance:.1e}; {FLOAT16_TOLERANCE:.0e} is allowed"
    return replace(parity, lacking=lacking)


@dataclass(frozen=True)
class Lacking:
    """Why a graph was not written: the one in float16, where one was asked for, and the gradient."""

    float16: str = ""
    gradient: str = ""


def write_graphs(
    encoder: nn.Module, folder: Path, contract: InputContract, *, half: bool = False, needs_gradient: bool = True
) -> Lacking:
    """Write all graphs into `folder`, unchecked; with `half` also `EMULATED`, for `float16_distance`.

    Weights that one ONNX file cannot hold lie beside the graphs, as those of `half` do.

    Returns:
        Why some were not written.

    """
    # Folded into a weight, BatchNorm would make of a number that float16 holds one that it does not.
    served = prepare(encoder, fold=not half)
    blank = torch.zeros(3, *contract.shape, dtype=torch.uint8)
    with torch.no_grad():
        dim = served(blank).shape[1]
    models, untraced = {ENCODER: _exported(served, {"images": blank}, "embeddings")}, ""
    try:
        models[GRADIENT] = _gradient_of(served, contract, dim)
    except _UNTRACEABLE as error:
        if needs_gradient:
            raise
        untraced = describe_untraced(error)
    lacking = ""
    if half:
        try:
            write_model(in_float16(models[ENCODER], emulated=True), folder / EMULATED)
            models[ENCODER_FLOAT16] = in_float16(models[ENCODER])
        except BeyondFloat16Error as error:
            lacking = str(error)
        for model in models.values():
            halve(model)
    if half or max(map(weight_bytes, models.values())) > large_models.MOST_WEIGHT_BYTES:
        (folder / WEIGHTS).write_bytes(share_weights(models.values(), WEIGHTS))
    for name, model in models.items():
        (folder / name).write_bytes(model.SerializeToString(deterministic=True))
    return Lacking(lacking, untraced)


def _gradient_of(served: ServedEncoder, contract: InputContract, dim: int) -> ModelProto:
    gradient = trace_gradient(served, contract.shape, dim).eval()
    pixels, cotangents = torch.zeros(3, *contract.shape), torch.zeros(3, dim)
    return _exported(gradient, {"pixels": pixels, "cotangents": cotangents}, "gradients")


def describe_untraced(error: BaseException) -> str:
    """Which operator stands in the way of a gradient, where the error or one behind it names one; else what it says."""
    behind: BaseException | None = error
    while behind is not None:
        if named := re.search(r"aten\.\w+", str(behind)):
            return f"the gradient needs the operator {named[0]}, which has no ONNX form here"
        behind = behind.__cause__ or behind.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]


def _exported(module: nn.Module, inputs: dict[str, torch.Tensor], output: str) -> ModelProto:
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
    exported: ModelProto = model
    return exported


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's notes on itself; its other warnings pass."""
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
