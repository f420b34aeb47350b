"""The contract between trainer, index builder and server: one directory, a bundle. Nothing here imports torch.

Names come from their modules when they are first asked for: whoever needs the decoding alone does not load faiss.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.bundle.manifest import Manifest
    from holdfast.bundle.reader import Bundle, read_manifest
    from holdfast.bundle.threat_model import ThreatModel
    from holdfast.bundle.writer import BundleWriter
    from holdfast.errors import BundleError, HoldfastError, ImageError
    from holdfast.model.answers import Answers
    from holdfast.model.classifier import Classifier
    from holdfast.model.preprocess import InputContract, decode_image, fit

__all__ = [
    "Answers",
    "Bundle",
    "BundleError",
    "BundleWriter",
    "Classifier",
    "HoldfastError",
    "ImageError",
    "InputContract",
    "Manifest",
    "ThreatModel",
    "decode_image",
    "fit",
    "read_manifest",
]

_HOMES = {
    "Answers": "holdfast.model.answers",
    "Bundle": "holdfast.bundle.reader",
    "BundleError": "holdfast.errors",
    "BundleWriter": "holdfast.bundle.writer",
    "Classifier": "holdfast.model.classifier",
    "HoldfastError": "holdfast.errors",
    "ImageError": "holdfast.errors",
    "InputContract": "holdfast.model.preprocess",
    "Manifest": "holdfast.bundle.manifest",
    "ThreatModel": "holdfast.bundle.threat_model",
    "decode_image": "holdfast.model.preprocess",
    "fit": "holdfast.model.preprocess",
    "read_manifest": "holdfast.bundle.reader",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
