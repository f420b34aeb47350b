"""Descriptions of models that nobody runs."""

from typing import Any

from holdfast.bundle.manifest import Accuracy, ThreatModelRecord
from holdfast.model.preprocess import InputContract
from holdfast.model.vote import VoteParameters
from holdfast.server.core.description import ModelDescription, PlacementRecord

ACCURACY = Accuracy(clean=0.9, robust=0.4, norm="linf", epsilon=8 / 255, attack="PGD", images=100)


def described(*, version: int = 1, shape: tuple[int, int, int] = (8, 9, 3), **others: Any) -> ModelDescription:
    fields = {
        "name": "described",
        "created": "2026-01-01T00:00:00Z",
        "encoder_sha256": "0" * 64,
        "embedding_dim": 4,
        "class_names": ("a", "b", "c"),
        "exemplars": 7,
        "vote": VoteParameters(k=3),
        "abstain_below": 0.1,
        "threat_model": ThreatModelRecord(norm="linf", epsilon=8 / 255),
        "accuracy": None,
        "disagreement_ratio": 0.05,
        "placement": PlacementRecord(device="cpu", text="cpu"),
    }
    contract = InputContract(height=shape[0], width=shape[1])
    return ModelDescription(version=version, contract=contract, **(fields | others))
