"""Clusters of the teacher's embeddings, and what the student is asked for."""

import pytest
import torch
import torch.nn.functional as F

from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import ClustersConfig, build_objective
from holdfast.trainer.objectives.distillation.clusters import prototypes_of
from tests.trainer.objectives.batches import STILL, batch


def test_prototypes_are_the_middles_of_groups_and_the_same_every_time() -> None:
    generator = torch.Generator().manual_seed(0)
    middles = F.normalize(torch.randn(5, 16, generator=generator), dim=1)
    cloud = F.normalize(middles.repeat(40, 1) + 0.05 * torch.randn(200, 16, generator=generator), dim=1)
    found = prototypes_of(cloud, 5)
    assert torch.equal(found, prototypes_of(cloud, 5))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(5))
    nearest = (cloud @ found.T).argmax(1)
    members = torch.stack([F.normalize(cloud[nearest == j].mean(0), dim=0) for j in range(5)])
    assert (members * found).sum(1).min() > 0.999
    with pytest.raises(ValueError, match="ask for fewer"):
        prototypes_of(cloud[:4], 5)


def test_clusters_ask_the_student_for_the_teachers_neighbourhoods() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16)).eval()
    config = ClustersConfig(prototypes=4, teacher_temperature=0.1, student_temperature=0.1, steps=2, augment=STILL)
    objective = build_objective(config, encoder, 3).train()
    objective.prepare(encoder, batch(), 1)
    terms = objective.terms(encoder, batch(), torch.Generator().manual_seed(0))
    # A student that is its teacher says what it says: what is left is the entropy of the teacher's own answers.
    with torch.no_grad():
        nearness = F.softmax(F.normalize(encoder(batch().pixels()), dim=1) @ objective.prototypes.T / 0.1, dim=1)
    entropy = -(nearness * nearness.log()).sum(1).mean()
    assert terms["clean"].item() == pytest.approx(entropy.item(), rel=1e-4)
    assert terms["robust"].item() > config.robust_weight * entropy.item()


class MeanColours(torch.nn.Module):
    """An encoder of sums alone, which mixed precision computes as float32 does."""

    dim = 3

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().mean((2, 3)) - 0.4


def test_nearness_to_prototypes_is_exact_in_mixed_precision() -> None:
    config = ClustersConfig(
        prototypes=4, teacher_temperature=0.01, student_temperature=0.01, epsilon=0.0, step_size=0.0, steps=1, augment=STILL
    )
    found = []
    for enabled in (False, True):
        encoder = MeanColours()
        objective = build_objective(config, encoder, 3)
        objective.prepare(encoder, batch(), 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(objective.terms(encoder, batch(), torch.Generator().manual_seed(0)))
    assert found[0] == found[1]
