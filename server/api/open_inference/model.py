"""What the protocol says of the server and of its one model. Fields have the protocol's names, in JSON and in gRPC alike."""

import importlib.metadata
from typing import Any

from holdfast.server.api.open_inference.images import INPUT
from holdfast.server.api.open_inference.outputs import OUTPUTS
from holdfast.server.api.open_inference.tensors import BYTES
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.errors import UnknownModelError
from holdfast.server.metrics.statistics import DurationSum, VersionStatistics
from holdfast.server.settings import Settings

PLATFORM = "holdfast"
EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "parameters", "statistics")

_CONFIG_TYPES = {BYTES: "TYPE_STRING"}


def version_of(model: ModelDescription) -> str:
    """The version as callers may ask for it: the bundle's, which no change of its exemplars changes."""
    return model.bundle_version or str(model.version)


def check_model(model: ModelDescription, name: str, version: str) -> None:
    """Refuse what is not served. An empty version is any.

    Raises:
        UnknownModelError: another model or version is served; says which.

    """
    if name != model.name or version not in {"", version_of(model)}:
        raise UnknownModelError(model.name, version_of(model))


def server_metadata() -> dict[str, Any]:
    """What the server is."""
    try:
        version = importlib.metadata.version("holdfast")
    except importlib.metadata.PackageNotFoundError:  # a checkout that nobody has installed
        version = "unknown"
    return {"name": "holdfast", "version": version, "extensions": list(EXTENSIONS)}


def model_metadata(model: ModelDescription) -> dict[str, Any]:
    """What the model takes and gives; -1 is a side that may be anything. Pixels (UINT8) may take the place of files (BYTES)."""
    return {
        "name": model.name,
        "versions": [version_of(model)],
        "platform": PLATFORM,
        "inputs": [{"name": INPUT, "datatype": BYTES, "shape": [-1, 1]}],
        "outputs": [
            {"name": kind.name, "datatype": kind.datatype, "shape": list(kind.shape(model, -1))} for kind in OUTPUTS.values()
        ],
    }


def model_config(model: ModelDescription, settings: Settings) -> dict[str, Any]:
    """The same as clients of Triton want to have it: shapes without the side that counts images."""
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "max_batch_size": settings.max_images,
        "input": [{"name": INPUT, "data_type": _CONFIG_TYPES[BYTES], "dims": [1]}],
        "output": [
            {
                "name": kind.name,
                "data_type": _CONFIG_TYPES.get(kind.datatype, f"TYPE_{kind.datatype}"),
                "dims": list(kind.shape(model, 0))[1:] or [1],
            }
            for kind in OUTPUTS.values()
        ],
        "dynamic_batching": {
            "preferred_batch_size": [],
            "max_queue_delay_microseconds": round(settings.max_wait * 1e6),
        },
    }


def model_statistics(kept: VersionStatistics) -> dict[str, Any]:
    """What this process has done with one version of the model."""

    def total(duration: DurationSum) -> dict[str, int]:
        return {"count": duration.count, "ns": duration.ns}

    return {
        "name": kept.name,
        "version": kept.version,
        "last_inference": round(kept.answered_at * 1000),
        "inference_count": kept.images,
        "execution_count": kept.batches,
        "inference_stats": {
            "success": total(kept.success),
            "fail": total(kept.fail),
            "queue": total(kept.queue),
            "compute_input": total(kept.decoding),
            "compute_infer": total(kept.model),
            "compute_output": total(kept.returning),
        },
    }
