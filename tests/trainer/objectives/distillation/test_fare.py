"""FARE: what it asks for is nothing of the original itself, unattacked, and a way back where it is attacked."""

import pytest
import torch

from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import FareConfig, SsatConfig, build_objective
from tests.trainer.objectives.batches import batch


def terms_of(config, *, moved=False):
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16)).eval()
    objective = build_objective(config, encoder, 3)
    objective.prepare(encoder, batch(), 1)
    if moved:
        with torch.no_grad():
            encoder.to1[3].weight.add_(0.1 * torch.randn_like(encoder.to1[3].weight))
    terms = objective.terms(encoder, batch(), torch.Generator().manual_seed(1))
    if isinstance(config, FareConfig) and config.clean_weight:
        assert config.clean_weight * objective.watched()["moved"].item() == pytest.approx(terms["clean"].item(), abs=1e-6)
    return encoder, terms


def test_the_original_unattacked_has_no_loss_and_an_attack_makes_one() -> None:
    _, unattacked = terms_of(FareConfig(epsilon=0.0, steps=0, clean_weight=1.0))
    assert {name: value.item() for name, value in unattacked.items()} == pytest.approx({"robust": 0, "clean": 0}, abs=1e-9)
    _, random = terms_of(FareConfig(steps=0))
    _, attacked = terms_of(FareConfig(steps=5))
    assert 0 < random["robust"] < attacked["robust"] <= 4


def test_a_clean_image_is_asked_for_where_it_has_a_weight() -> None:
    encoder, terms = terms_of(FareConfig(epsilon=0.0, steps=0, clean_weight=3.0), moved=True)
    assert terms["clean"].item() == pytest.approx(3 * terms["robust"].item(), rel=1e-5)
    terms["clean"].backward()
    assert encoder.to1[3].weight.grad.abs().sum() > 0
    assert terms_of(FareConfig(steps=1))[1].keys() == {"robust"}
    with pytest.raises(ValueError, match="clean"):
        FareConfig(clean_weight=-1.0)


def test_taught_ssat_gets_smaller_along_its_gradient() -> None:
    config = SsatConfig(arm="taught", epsilon=0.05, steps=2)
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16)).eval()
    objective = build_objective(config, encoder, 3)
    objective.prepare(encoder, batch(), 1)

    def loss():
        return torch.stack(list(objective.terms(encoder, batch(), torch.Generator().manual_seed(1)).values())).sum()

    optimiser, before = torch.optim.SGD(encoder.parameters(), 1e-3), loss()
    for _ in range(5):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert loss() < before
    with pytest.raises(ValueError, match="temperature"):
        SsatConfig(arm="taught", temperature=0.0)
