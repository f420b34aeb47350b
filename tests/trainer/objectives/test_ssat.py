"""Guided SSAT: its bank, its vote, and which pairs it keeps."""

import pytest
import torch
import torch.nn.functional as F

from holdfast.attacks.losses.guides import GuideBank
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import SsatConfig, build_objective
from holdfast.trainer.objectives.ssat import knn_vote
from tests.trainer.objectives.batches import batch


def test_guided_keeps_only_what_fools_the_vote() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16))
    harmless = build_objective(SsatConfig(arm="guided", epsilon=0.0, step_size=0.0, k=1), encoder, 3)
    harmless.prepare(encoder, batch(), 1)
    # Every image is its own nearest neighbour, so without an attack there is nothing to learn.
    assert harmless.terms(encoder, batch(), torch.Generator()) == {}
    with pytest.raises(RuntimeError, match="prepare"):
        build_objective(SsatConfig(arm="guided"), encoder, 3).terms(encoder, batch(), torch.Generator())


def test_the_bank_is_renewed_every_refresh_steps() -> None:
    encoder = build_encoder(ResNetConfig(8, 1, 16))
    objective = build_objective(SsatConfig(arm="guided", refresh=3), encoder, 3)
    banks = []
    for step in range(1, 6):
        objective.prepare(encoder, batch(), step)
        banks.append(id(objective.bank))
    assert len(set(banks[:3])) == 1
    assert banks[2] != banks[3] == banks[4]


def test_the_vote_counts_the_k_nearest() -> None:
    directions = F.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.3], [0.0, 1.0]]), dim=1)
    bank = GuideBank(directions, torch.tensor([2, 1, 1, 0]))
    z = torch.tensor([[1.0, 0.0]])
    assert [knn_vote(z, bank, k).item() for k in (1, 3, 99)] == [2, 1, 1]
