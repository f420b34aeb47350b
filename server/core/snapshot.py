"""The model at one moment: everything that a batch is answered with."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.reader import ENCODER, Bundle
from holdfast.errors import BundleError
from holdfast.model.classifier import Classifier, Retrieval
from holdfast.model.encoder.onnx import OnnxGradient
from holdfast.model.preprocess import Pixels
from holdfast.server.core.description import ModelDescription, PlacementRecord
from holdfast.server.core.result import AnsweredBatch
from holdfast.server.core.sources import ExemplarLookup, NoSources, TableSources


def no_calibration() -> CalibrationSet:
    """Of models that are of no bundle. Raises BundleError."""
    raise BundleError("this model has no held-out images")


@dataclass(frozen=True, eq=False)
class ModelSnapshot:
    """Immutable; threads may share it. What replaces it is another snapshot with a larger version.

    Attributes:
        description: what callers and operators are to know about it.
        classifier: answers batches.
        load_gradient: gives the vector-Jacobian product of the encoder, loaded when it is first asked for.
        sources: says where exemplars' images came from.
        load_calibration: gives the held-out images, embedded; raises BundleError where the bundle has none.

    """

    description: ModelDescription
    classifier: Classifier
    load_gradient: Callable[[], OnnxGradient]
    sources: ExemplarLookup = field(default_factory=NoSources)
    load_calibration: Callable[[], CalibrationSet] = no_calibration

    @classmethod
    def of(cls, bundle: Bundle, version: int, bundle_version: str = "") -> Self:
        """The model of a bundle. Nothing else of the server builds a classifier or keeps a bundle.

        `bundle_version` tells this bundle from every other that the server may come to serve.
        """
        description = _describe(bundle, version, bundle_version)
        return cls(
            description,
            bundle.classifier(),
            lambda: bundle.gradient,
            TableSources(lambda: bundle.exemplars),
            lambda: bundle.calibration_set,
        )

    @property
    def version(self) -> int:
        """Of all snapshots of one server, this one's own."""
        return self.description.version

    def numbered(self, version: int) -> Self:
        """The same model under another version number."""
        return replace(self, description=self.description.model_copy(update={"version": version}))

    @property
    def gradient(self) -> OnnxGradient:
        """The vector-Jacobian product of the encoder. Raises BundleError where the bundle has none."""
        return self.load_gradient()

    def retrieve(self, images: Pixels) -> Retrieval:
        """The first half of a batch, which a device computes: embed and search uint8 [N, H, W, C]."""
        return self.classifier.retrieve(images)

    def decide(self, retrieval: Retrieval, certified: NDArray[np.intp] | None = None) -> AnsweredBatch:
        """The second half, which is the CPU's: order neighbours, vote, and say how far the vote can be trusted.

        `certified` are the numbers of the images whose poison tolerance and feature shift are wanted; None for none.
        """
        answers = self.classifier.decide(retrieval)
        if certified is not None:
            answers = self.classifier.certified(retrieval, answers, certified)
        return AnsweredBatch(self.description, answers, self.sources)


def _describe(bundle: Bundle, version: int, bundle_version: str) -> ModelDescription:
    manifest, placement = bundle.manifest, bundle.placement
    return ModelDescription(
        version=version,
        bundle_version=bundle_version,
        name=manifest.name,
        created=manifest.created,
        encoder_sha256=manifest.files[ENCODER],
        contract=manifest.input,
        embedding_dim=manifest.embedding_dim,
        class_names=manifest.class_names,
        exemplars=bundle.index.size,
        vote=manifest.vote,
        abstain_below=manifest.calibration.abstain_below if manifest.calibration else 0.0,
        threat_model=manifest.threat_model,
        hardened=manifest.hardened,
        imported_from=manifest.imported.source if manifest.imported else "",
        accuracy=manifest.accuracy,
        disagreement_ratio=manifest.index.disagreement_ratio if manifest.index else None,
        placement=PlacementRecord(device=placement.device, gpu=placement.gpu, text=str(placement)),
    )
