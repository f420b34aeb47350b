"""The contract between trainer, index builder and server: one directory, a bundle. Nothing here imports torch."""

from bundle.answers import Answers
from bundle.bundle import Bundle, BundleWriter, read_manifest
from bundle.classifier import Classifier
from bundle.errors import BundleError, HoldfastError, ImageError
from bundle.manifest import Manifest
from bundle.preprocess import InputContract, decode_image, fit
from bundle.threat_model import ThreatModel

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
