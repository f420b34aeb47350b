"""What was evaluated, and how: the parts of a report that let a reader repeat it."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper

from holdfast.bundle.manifest import Manifest
from holdfast.bundle.reader import ENCODER, WEIGHTS, Bundle
from holdfast.evaluation.report.results import Provenance, Subject
from holdfast.model.vote import VoteParameters
from holdfast.revision import commit

LIBRARIES = (
    "holdfast",
    "torch",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "faiss-cpu",
    "faiss-gpu-cuvs",
    "pyautoattack",
    "foolbox",
    "adversarial-robustness-toolbox",
)


def subject_of(bundle: Bundle) -> Subject:
    """An open bundle in the words of its manifest."""
    manifest, directory = bundle.manifest, bundle.directory
    indexed = manifest.index.data if manifest.index else None
    return Subject(
        name=manifest.name,
        **_origin(manifest),
        parameters=parameters_of(directory / ENCODER),
        encoder_bytes=sum((directory / name).stat().st_size for name in (ENCODER, WEIGHTS) if name in manifest.files),
        index_bytes=sum((directory / name).stat().st_size for name in manifest.index_files),
        encoder_sha256=manifest.files[ENCODER],
        index_sha256=manifest.index_sha256,
        embedding_dim=manifest.embedding_dim,
        exemplars=bundle.index.size,
        index_command=manifest.index.command if manifest.index else "",
        vote=describe_vote(manifest.vote),
        abstain_below=manifest.abstain_below,
        class_names=manifest.class_names,
        data=indexed.data if indexed else manifest.trained.data.name,
        data_sha256=indexed.sha256 if indexed else manifest.trained.data.sha256,
    )


def _origin(manifest: Manifest) -> dict[str, Any]:
    """Where the encoder came from: what of the subject's fields says so."""
    imported = manifest.imported
    if imported is not None and manifest.training is None:
        return {
            "encoder": f"{imported.source}, value {imported.output}",
            "objective": f"not trained here: imported from {imported.source}, sha256 {imported.sha256}",
            "training_command": imported.command,
            "training_seconds": 0.0,
            "training_commit": imported.commit,
        }
    training = manifest.trained
    return {
        "encoder": training.encoder if imported is None else f"{training.encoder}, imported from {imported.source}",
        "objective": training.objective,
        "training_command": training.command,
        "training_seconds": training.seconds,
        "training_commit": training.commit,
        "training_seed": training.seed,
    }


def provenance_of(command: str, seed: int, seconds: float, device: torch.device, served_on: str) -> Provenance:
    """Of a run on the machine at hand, by the code at hand, ending now.

    Args:
        command: as a person would type it again.
        seed: of the draw of images and of all attacks.
        seconds: wall time, interrupted runs included.
        device: where the attacks computed.
        served_on: where the answers were computed that decided; see `EvaluationContext.served_on`.

    """
    return Provenance(
        command=command,
        commit=commit(),
        seed=seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        accelerator=torch.cuda.get_device_name(device) if device.type == "cuda" else "none",
        served_on=served_on,
        versions={"python": sys.version.split()[0]} | _versions(),
    )


def parameters_of(graph: Path) -> int:
    """Numbers that an ONNX graph holds as floating-point weights, BatchNorm's statistics and constants included."""
    weights = onnx.load(graph).graph.initializer
    return sum(array.size for array in map(numpy_helper.to_array, weights) if array.dtype.kind == "f")


def describe_vote(vote: VoteParameters) -> str:
    """As in "k = 15, exponential weights at temperature 0.1"."""
    how = "uniform weights" if vote.weighting == "uniform" else f"exponential weights at temperature {vote.temperature:g}"
    corrected = f", divided by class frequency to the {vote.prior_correction:g}" if vote.class_weights else ""
    return f"k = {vote.k}, {how}{corrected}"


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
