"""What holds for every objective: it learns, repeats by seed, and reads no labels where it says so."""

import pytest
import torch

from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import (
    AmdimObjectiveConfig,
    ClustersConfig,
    DeaclConfig,
    ImageBatch,
    SimclrConfig,
    SsatConfig,
    SupervisedAdversarialConfig,
    SupervisedConfig,
    TradesConfig,
    UganConfig,
    build_objective,
)
from tests.trainer.objectives.batches import batch

ALL = [
    AmdimObjectiveConfig(),
    ClustersConfig(prototypes=4, steps=2),
    DeaclConfig(steps=2),
    SimclrConfig(hidden=8, projection=6),
    SsatConfig(),
    SsatConfig(arm="guided", epsilon=0.5, step_size=0.2, k=3),
    SupervisedConfig(),
    SupervisedAdversarialConfig(norm="l2", epsilon=1.0, step_size=0.5),
    TradesConfig(steps=2),
    UganConfig(fake_from=0.0),
]


@pytest.mark.parametrize("config", ALL, ids=lambda c: f"{type(c).__name__}-{getattr(c, 'arm', '')}")
def test_every_objective_teaches_encoder_and_head_and_repeats_by_seed(config) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16)).train()
    objective = build_objective(config, encoder, 3).train()
    objective.prepare(encoder, batch(), 1)
    state = {k: v.clone() for k, v in encoder.state_dict().items()}
    terms = objective.terms(encoder, batch(), torch.Generator().manual_seed(4))
    assert set(terms) <= set(objective.names)
    assert encoder.training
    torch.stack(list(terms.values())).sum().backward()
    learning = [*(p for p in objective.parameters() if p.requires_grad), *encoder.to5.parameters()]
    assert all(parameter.grad is not None for parameter in learning)
    encoder.load_state_dict(state)
    again = objective.terms(encoder, batch(), torch.Generator().manual_seed(4))
    assert {k: v.item() for k, v in terms.items()} == pytest.approx({k: v.item() for k, v in again.items()}, rel=1e-5)


@pytest.mark.parametrize(
    "config",
    [AmdimObjectiveConfig(), ClustersConfig(prototypes=4, steps=2), DeaclConfig(steps=2), SimclrConfig(), SsatConfig()],
)
def test_label_free_objectives_do_not_look_at_labels(config) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16))
    objective = build_objective(config, encoder, 3)
    objective.prepare(encoder, batch(), 1)
    state = {k: v.clone() for k, v in encoder.state_dict().items()}
    losses = []
    for labels in (batch().labels, torch.full((12,), -7)):
        encoder.load_state_dict(state)
        terms = objective.terms(encoder, ImageBatch.whole(batch().images, labels), torch.Generator().manual_seed(4))
        losses.append(sum(term.item() for term in terms.values()))
    assert losses[0] == losses[1]
