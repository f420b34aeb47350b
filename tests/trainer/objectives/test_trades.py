"""TRADES on a cosine classifier, held against its formula."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import TradesConfig, build_objective
from tests.trainer.objectives.batches import STILL, batch


def test_trades_is_its_formula() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16)).train()
    config = TradesConfig(epsilon=0.0, robust_weight=3.0, temperature=0.2, augment=STILL)
    objective = build_objective(config, encoder, 3)
    still = objective.terms(encoder, batch(), torch.Generator())
    with torch.no_grad():
        z = F.normalize(encoder(batch().pixels().repeat(2, 1, 1, 1)), dim=1)[:12]
        logits = z @ F.normalize(objective.prototypes, dim=1).T / 0.2
    assert still["clean"].item() == pytest.approx(F.cross_entropy(logits, batch().labels).item(), rel=1e-4)
    assert still["robust"].item() == pytest.approx(0, abs=1e-5)
    encoder.eval()  # so that clean and attacked images do not meet in BatchNorm
    attacked: list[torch.Tensor] = []
    encoder.register_forward_pre_hook(lambda _, inputs: attacked.append(inputs[0].detach().clone()))
    moving = build_objective(replace(config, epsilon=0.1, step_size=0.1, steps=2), encoder, 3)
    terms = moving.terms(encoder, batch(), torch.Generator().manual_seed(1))
    clean, moved = attacked[-1].chunk(2)
    assert (clean - moved).abs().max().item() == pytest.approx(0.1, abs=1e-6)
    with torch.no_grad():
        p, q = (
            F.softmax(F.normalize(encoder(x), dim=1) @ F.normalize(moving.prototypes, dim=1).T / 0.2, 1) for x in (clean, moved)
        )
    assert terms["robust"].item() == pytest.approx(3 * (p * (p / q).log()).sum(1).mean().item(), rel=1e-3)
    start = clean + torch.empty_like(clean).uniform_(-0.1, 0.1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        r = F.softmax(F.normalize(encoder(start.clamp(0, 1)), dim=1) @ F.normalize(moving.prototypes, dim=1).T / 0.2, 1)
    assert (p * (p / q).log()).sum() > (p * (p / r).log()).sum()


@pytest.mark.parametrize(("temperature", "weight"), [(0.0, 6.0), (0.1, -1.0), (float("nan"), 6.0)])
def test_trades_without_temperature_or_with_less_than_no_weight_is_refused(temperature, weight) -> None:
    with pytest.raises(ValueError, match="temperature above 0"):
        TradesConfig(temperature=temperature, robust_weight=weight)
