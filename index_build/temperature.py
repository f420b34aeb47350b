"""The temperature at which the soft kNN answers as the vote does, for an index whose vote is another than its encoder's."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.manifest import Manifest
from holdfast.index_build.finish import FinishedIndex
from holdfast.model.prototypes import ClassPrototypes
from holdfast.model.retrieval.base import Retriever, nearest
from holdfast.model.retrieval.embeddings import ReadableBank
from holdfast.model.surrogate import SoftKNN
from holdfast.model.vote import vote

TEMPERATURES = (0.2, 0.1, 0.075, 0.05, 0.03, 0.02, 0.015, 0.01)
"""From the smooth to the sharp: fewer voters are a sharper vote. Below, most gradients vanish."""

SAMPLE = 50_000
"""The most exemplars that are looked at: memory does not grow with the index."""


class FittedTemperature(NamedTuple):
    """A temperature of similarities, and the share of held-out images on which soft kNN and vote agree at it."""

    tau: float
    agreement: float


def fitted_temperature(
    index: Retriever, bank: ReadableBank, manifest: Manifest, held_out: CalibrationSet, *, seed: int = 0
) -> FittedTemperature | None:
    """Choose the soft kNN's temperature by its agreement with the vote on held-out images.

    Attacks and probes follow the soft kNN's gradient. Where it answers otherwise than the vote, they aim beside it, and the
    robustness that they measure is too high. Of equal agreement the present temperature is kept, else the smoothest taken.

    Args:
        index: the exemplars as they will be searched.
        bank: what it was built of; embeddings may lie in a file.
        manifest: has the vote, the classes and the present temperature.
        held_out: images that are no exemplars.
        seed: of the sample of a large bank.

    Returns:
        None where no image is held out.

    """
    if not len(held_out):
        return None
    classes, parameters = len(manifest.class_names), manifest.vote
    rows = np.arange(len(bank.labels))
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), SAMPLE, replace=False))
    prototypes = ClassPrototypes.of(np.asarray(bank.embeddings[rows]), bank.labels[rows])
    found = nearest(index, held_out.embeddings, parameters.k)
    answered = vote(found.similarities, found.labels, classes, parameters).labels

    def agreement(tau: float) -> float:
        soft = SoftKNN.over(prototypes, classes, tau).reweighed(parameters.weights_of(classes))
        return float(np.mean(soft.log_scores(held_out.embeddings).argmax(axis=1) == answered))

    candidates = [manifest.surrogate_tau, *(tau for tau in TEMPERATURES if tau != manifest.surrogate_tau)]
    return max((FittedTemperature(tau, agreement(tau)) for tau in candidates), key=lambda fitted: fitted.agreement)


def with_fitted_temperature(finished: FinishedIndex, bank: ReadableBank, held_out: CalibrationSet) -> FinishedIndex:
    """The same with the temperature that `fitted_temperature` finds; as it is where that finds none."""
    fitted = fitted_temperature(finished.index, bank, finished.manifest, held_out)
    if fitted is None:
        return finished
    return replace(finished, manifest=finished.manifest.model_copy(update={"surrogate_tau": fitted.tau}))
