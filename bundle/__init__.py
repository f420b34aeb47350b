"""The contract between trainer, index builder and server: one directory, a bundle. Nothing here imports torch.

Names come from their modules when they are first asked for: whoever needs the decoding alone does not load faiss.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bundle.answers import Answers
    from bundle.bundle import Bundle, read_manifest
    from bundle.classifier import Classifier
    from bundle.errors import BundleError, HoldfastError, ImageError
    from bundle.manifest import Manifest
    from bundle.preprocess import InputContract, decode_image, fit
    from bundle.threat_model import ThreatModel
    from bundle.writer import BundleWriter

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
    "Answers": "answers",
    "Bundle": "bundle",
    "BundleError": "errors",
    "BundleWriter": "writer",
    "Classifier": "classifier",
    "HoldfastError": "errors",
    "ImageError": "errors",
    "InputContract": "preprocess",
    "Manifest": "manifest",
    "ThreatModel": "threat_model",
    "decode_image": "preprocess",
    "fit": "preprocess",
    "read_manifest": "bundle",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"bundle.{_HOMES[name]}"), name)
