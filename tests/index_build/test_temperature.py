"""The soft kNN of an index follows its vote."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.index_build.temperature import TEMPERATURES, fitted_temperature
from holdfast.model.retrieval.base import Bank, nearest
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.surrogate import SoftKNN
from holdfast.model.vote import VoteParameters, vote
from tests.bundles import manifest

CLASSES = 3


def unit(rng, count):
    drawn = rng.standard_normal((count, 8)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from(TEMPERATURES))
def test_it_agrees_with_the_vote_at_least_as_often_as_before(seed, k, before):
    rng = np.random.default_rng(seed)
    bank = Bank(unit(rng, 90), np.arange(90), rng.integers(0, CLASSES, 90))
    held_out = CalibrationSet(unit(rng, 60), rng.integers(0, CLASSES, 60), ("",) * 60)
    index, parameters = FlatIndex.build(bank), VoteParameters(k=k)
    found = nearest(index, held_out.embeddings, k)
    answered = vote(found.similarities, found.labels, CLASSES, parameters).labels

    def agreement(tau):
        scores = SoftKNN(bank.embeddings, bank.labels, CLASSES, tau).log_scores(held_out.embeddings)
        return float(np.mean(scores.argmax(axis=1) == answered))

    known = manifest(8, 8, ("a", "b", "c"), vote=parameters, surrogate_tau=before)
    fitted = fitted_temperature(index, bank, known, held_out)
    assert fitted is not None
    assert fitted.agreement == agreement(fitted.tau)
    assert fitted.agreement == max(agreement(tau) for tau in (before, *TEMPERATURES))
    assert fitted.tau == before or agreement(before) < fitted.agreement
