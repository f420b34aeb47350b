import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.attacks.losses.guides import GuideBank
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.loop.augment import AugmentConfig
from holdfast.trainer.objectives import (
    AmdimObjectiveConfig,
    ImageBatch,
    ClustersConfig,
    DeaclConfig,
    SimclrConfig,
    SsatConfig,
    SupervisedAdversarialConfig,
    SupervisedConfig,
    TradesConfig,
    build_objective,
)
from holdfast.trainer.objectives.clusters import prototypes_of
from holdfast.trainer.objectives.nce import multiscale_nce, nce, one_location
from holdfast.trainer.objectives.ssat import knn_vote

STILL = AugmentConfig(flip=0, translate=0, brightness=0, contrast=0, saturation=0, hue=0, grey=0)
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
]


def slow_nce(sources: torch.Tensor, targets: torch.Tensor, clip: float) -> tuple[float, float]:
    """The formula of the paper, one number at a time."""
    n, d, locations = targets.shape
    losses, squares = [], []
    for i in range(n):
        scores = [[float(sources[i] @ targets[j, :, m]) / math.sqrt(d) for m in range(locations)] for j in range(n)]
        squares += [s * s for row in scores for s in row]
        clipped = [[clip * math.tanh(s / clip) for s in row] for row in scores]
        others = sum(math.exp(s) for j in range(n) if j != i for s in clipped[j])
        losses += [-math.log(math.exp(s) / (math.exp(s) + others)) for s in clipped[i]]
    return sum(losses) / len(losses), sum(squares) / len(squares)


@given(n=st.integers(2, 4), d=st.integers(1, 5), locations=st.integers(1, 4), scale=st.floats(0.1, 20))
@settings(max_examples=30, deadline=None)
def test_nce_is_the_formula_of_the_paper(n: int, d: int, locations: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(n * 100 + d * 10 + locations)
    sources = scale * torch.randn(n, d, generator=generator)
    targets = torch.randn(n, d, locations, generator=generator)
    loss, squares = nce(sources, targets)
    expected = slow_nce(sources.double(), targets.double(), 20.0)
    assert loss.item() == pytest.approx(expected[0], rel=1e-4, abs=1e-5)
    assert squares.item() == pytest.approx(expected[1], rel=1e-4, abs=1e-6)


def test_nce_rewards_knowing_ones_own_and_is_exact_in_mixed_precision() -> None:
    own = 8 * torch.eye(4)
    right, _ = nce(own, own[:, :, None])
    wrong, _ = nce(own, own.flip(0)[:, :, None])
    assert right < 1e-3
    assert wrong > 1
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nce(own, own[:, :, None])[0], right)


def test_the_pairs_of_scales_go_both_ways_and_are_halved() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = ({k: torch.randn(3, 4, s, s, generator=generator) for k, s in ((1, 1), (5, 2), (7, 3))} for _ in "ab")
    terms = multiscale_nce(first, second, torch.Generator().manual_seed(1))
    seeded = torch.Generator().manual_seed(1)
    ways = [(first, second), (second, first)]
    by_hand = [
        (nce(a[1].flatten(1), b[5].flatten(2)), nce(a[1].flatten(1), b[7].flatten(2)),
         nce(one_location(a[5], seeded), b[5].flatten(2)))
        for a, b in ways
    ]  # fmt: skip
    for column, name in enumerate(("1to5", "1to7", "5to5")):
        assert terms[name].item() == pytest.approx(sum(way[column][0].item() for way in by_hand) / 2)
    assert terms["scores"].item() == pytest.approx(sum(pair[1].item() for way in by_hand for pair in way) / 2)


def batch(n: int = 12) -> ImageBatch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 32, 32, 3), dtype=torch.uint8, generator=generator)
    return ImageBatch(images, torch.arange(n) % 3)


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
        terms = objective.terms(encoder, ImageBatch(batch().images, labels), torch.Generator().manual_seed(4))
        losses.append(sum(term.item() for term in terms.values()))
    assert losses[0] == losses[1]


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


def student_and_deacl() -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16))
    objective = build_objective(DeaclConfig(steps=3), encoder, 3)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1.1)
    return encoder.train(), objective.train()


def test_the_teacher_is_the_encoder_before_the_first_step_and_stays_so() -> None:
    encoder, objective = student_and_deacl()
    objective.prepare(encoder, batch(), 1)
    first = {k: v.clone() for k, v in encoder.state_dict().items()}
    optimiser = torch.optim.SGD(encoder.parameters(), 0.1)
    torch.stack(list(objective.terms(encoder, batch(), torch.Generator()).values())).sum().backward()
    optimiser.step()
    objective.prepare(encoder, batch(), 2)
    assert not torch.equal(encoder.to5[0].conv1.weight, first["to5.0.conv1.weight"])
    assert all(torch.equal(v, first[k]) for k, v in objective.teacher.state_dict().items())
    assert not objective.teacher.training
    # A run that goes on, and a second stage of the same objective, keep it.
    other = build_objective(DeaclConfig(), encoder, 3)
    other.load_state_dict(objective.state_dict())
    other.prepare(encoder, batch(), 1)
    assert all(torch.equal(v, first[k]) for k, v in other.teacher.state_dict().items())


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


def test_nearness_to_prototypes_is_exact_in_mixed_precision() -> None:
    torch.manual_seed(0)
    objective = build_objective(ClustersConfig(prototypes=4), build_encoder(ResNetConfig(8, 1, 16)), 3)
    objective.prototypes.copy_(F.normalize(torch.randn(4, 16), dim=1))
    embeddings = torch.randn(6, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = objective._nearness(embeddings.bfloat16(), 0.1)
    exact = F.normalize(embeddings.bfloat16().float(), dim=1) @ objective.prototypes.T / 0.1
    torch.testing.assert_close(found, exact)


def test_a_fresh_student_agrees_with_its_teacher_and_the_attack_pulls_it_away() -> None:
    encoder, objective = student_and_deacl()
    objective.prepare(encoder, batch(), 1)
    # In training mode BatchNorm's statistics are the batch's own, so agreement is exact only in evaluation mode.
    terms = objective.terms(encoder.eval(), batch(), torch.Generator().manual_seed(0))
    assert terms["clean"].item() == pytest.approx(-1, abs=1e-5)
    assert terms["robust"].item() > -2 + 1e-4


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


def test_adversarial_training_has_the_larger_cross_entropy() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16))
    still = AugmentConfig(flip=0, translate=0, jitter_chance=0, grey=0)
    losses = []
    for epsilon in (0.0, 0.1):
        torch.manual_seed(1)
        config = SupervisedAdversarialConfig(epsilon=epsilon, step_size=epsilon / 2, augment=still)
        objective = build_objective(config, encoder, 3)
        losses.append(objective.terms(encoder, batch(), torch.Generator().manual_seed(0))["cross_entropy"].item())
    assert losses[0] < losses[1]
