"""UGAN: each term reaches its own player alone, images that are only judged leave no trace, and arms leave terms out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from holdfast.errors import HoldfastError
from holdfast.trainer.augment import WEAK, shared_flip, view
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ImageEncoder, ResNetConfig, build_encoder
from holdfast.trainer.loop.networks import build_networks
from holdfast.trainer.loop.optim import build_optimiser, take_step
from holdfast.trainer.objectives import ImageBatch, Objective, SupervisedConfig, UganConfig
from holdfast.trainer.objectives.ugan.objective import BALANCE_ALONE, OWNERS
from tests.trainer.objectives.batches import batch
from tests.trainer.tiny_runs import splits


def _stage() -> Stage:
    return Stage("ugan", UganConfig(), steps=10, batch_size=12, learning_rate=1e-3)


TERMS = {
    "supervised": {"labelled"},
    "good": {"labelled", "entropy", "balance", "fooling", "made", "discriminator", "good"},
    "bad": {"labelled", "entropy", "balance", "real", "bad", "matching", "pull_away"},
    "ugan": set(OWNERS) - {"consistency"},
}


def images(n: int = 12, known: int = 6) -> ImageBatch:
    """n images, of which the first `known` have labels."""
    few = batch(n)
    labels = few.labels.clone()
    labels[known:] = -1
    return ImageBatch(few.images, labels, few.rows)


def playing(config: UganConfig, train_set: ImageBatch | None = None) -> tuple[ImageEncoder, Objective]:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16, activation="silu")).train()
    objective = config.build(encoder, 3).train()
    objective.size(12, 10)
    objective.prepare(encoder, images() if train_set is None else train_set, 9)
    return encoder, objective


def owners(encoder: ImageEncoder, objective: Objective) -> dict[str, list[nn.Parameter]]:
    players = {player.name: player.parameters for player in objective.players()}
    taken = {id(parameter) for parameters in players.values() for parameter in parameters}
    rest = [p for p in (*encoder.parameters(), *objective.parameters()) if p.requires_grad and id(p) not in taken]
    return {"classifier": rest} | players


def moved(parameters: list[nn.Parameter]) -> bool:
    return any(parameter.grad is not None and bool((parameter.grad != 0).any()) for parameter in parameters)


def moved_by_a_step(
    terms: dict[str, torch.Tensor], optimiser: torch.optim.Optimizer, players: Mapping[str, Sequence[nn.Parameter]]
) -> set[str]:
    """Players whose weights a step on these terms changes."""
    before = {name: [p.detach().clone() for p in parameters] for name, parameters in players.items()}
    torch.stack(list(terms.values())).sum().backward()
    take_step(terms, optimiser, _stage())
    return {
        name
        for name, parameters in players.items()
        if any(not torch.equal(a, b) for a, b in zip(before[name], parameters, strict=True))
    }


@pytest.mark.parametrize("networks", ["dense", "convolutional"])
@pytest.mark.parametrize("arm", TERMS)
def test_each_term_reaches_its_own_player_alone(arm, networks) -> None:
    encoder, objective = playing(UganConfig(arm=arm, networks=networks, width=4, fake_from=0.5))
    terms = objective.terms(encoder, images(), torch.Generator().manual_seed(1))
    assert set(terms) == TERMS[arm]
    players = owners(encoder, objective)
    assert set(players) == {OWNERS[name] for name in terms}
    for name, term in terms.items():
        for parameter in (*encoder.parameters(), *objective.parameters()):
            parameter.grad = None
        term.backward(retain_graph=True)
        assert {player for player, parameters in players.items() if moved(parameters)} == {OWNERS[name]}, name
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad is not None for parameters in players.values() for parameter in parameters)


@pytest.mark.parametrize("arm", ["good", "bad", "ugan"])
def test_only_images_of_the_set_move_the_classifiers_batchnorm(arm) -> None:
    encoder, objective = playing(UganConfig(arm=arm, fake_from=0.0))
    alone, _ = playing(UganConfig(arm="supervised"))
    objective.terms(encoder, images(), torch.Generator().manual_seed(1))
    known = torch.Generator().manual_seed(1)
    order = torch.cat([torch.randperm(6, generator=known) for _ in range(2)])
    with torch.no_grad():
        alone(torch.cat([images().at(order).pixels(), images().pixels()]))
    buffers = dict(encoder.named_buffers())
    assert all(torch.allclose(value, buffers[name], atol=1e-5) for name, value in alone.named_buffers())
    assert encoder.training
    assert all(parameter.requires_grad for parameter in encoder.parameters())


def test_the_losses_of_the_discriminator_and_the_good_generator_are_their_formulas() -> None:
    encoder, objective = playing(UganConfig(fake_weight=0.5, fooling=0.2))
    terms = objective.terms(encoder, images(), torch.Generator().manual_seed(1))
    # The same draws once more, term by term.
    generator = torch.Generator().manual_seed(1)
    twin, again = playing(UganConfig(fake_weight=0.5, fooling=0.2))
    order = torch.cat([torch.randperm(6, generator=generator) for _ in range(2)])
    known, seen = images().at(order), images()
    own, logits = again.classifier(twin(torch.cat([known.pixels(), seen.pixels()]))).chunk(2)
    assert terms["labelled"].item() == pytest.approx(F.cross_entropy(own, known.labels).item(), rel=1e-4)
    guessed = F.one_hot(logits.argmax(1), 3).float()
    y = torch.randint(3, (12,), generator=generator)
    asked = F.one_hot(y, 3).float()
    made = again.good(torch.empty(12, 100).uniform_(-1, 1, generator=generator), asked)
    # A fifth of the batch is labelled, one half is taken as real with its guess, the other as generated.
    pixels = torch.cat([known.pixels()[:2], seen.pixels(), made])
    pairs = torch.cat([F.one_hot(known.labels[:2], 3).float(), guessed, asked])
    scores = again.discriminator(pixels, pairs, generator)
    ones, zeros = torch.ones(12), torch.zeros(12)
    loss = F.binary_cross_entropy_with_logits
    expected = loss(scores[:8], ones[:8]) + 0.5 * loss(scores[14:], zeros) + 0.5 * loss(scores[8:14], zeros[:6])
    assert terms["discriminator"].item() == pytest.approx(expected.item(), rel=1e-4)
    fooled = logits.softmax(1).amax(1) * loss(scores[2:14], ones, reduction="none")
    assert terms["fooling"].item() == pytest.approx(0.2 * fooled.mean().item(), rel=1e-4)
    judged = again.discriminator(made, asked, generator)
    assert terms["good"].item() == pytest.approx(0.5 * loss(judged, ones).item(), rel=1e-4)
    twin.eval()
    assert terms["made"].item() == pytest.approx(0.5 * F.cross_entropy(again.classifier(twin(made)), y).item(), rel=1e-3)


def test_consistency_is_the_distance_of_the_logits_of_two_views_and_begins_late() -> None:
    config = UganConfig(arm="bad", consistency=0.7, consistency_from=0.5, augment=WEAK)
    encoder, objective = playing(config)
    objective.prepare(encoder, images(), 5)
    assert set(objective.terms(encoder, images(), torch.Generator().manual_seed(1))) == TERMS["bad"]
    encoder, objective = playing(config)
    terms = objective.terms(encoder, images(), torch.Generator().manual_seed(1))
    assert set(terms) == TERMS["bad"] | {"consistency"}
    # The same draws once more.
    generator = torch.Generator().manual_seed(1)
    twin, again = playing(config)
    order = torch.cat([torch.randperm(6, generator=generator) for _ in range(2)])
    drawn = (images().at(order), images(), images())
    views = [view(shared_flip(each.pixels(), WEAK, generator), WEAK, generator) for each in drawn]
    assert not torch.equal(views[1], views[2])
    _, one, other = again.classifier(twin(torch.cat(views))).chunk(3)
    assert terms["consistency"].item() == pytest.approx(0.7 * F.mse_loss(one, other).item(), rel=1e-4)
    terms["consistency"].backward()
    found = {name for name, parameters in owners(encoder, objective).items() if moved(parameters)}
    assert found == {"classifier"}


def test_the_classifier_may_learn_alone_first() -> None:
    encoder, objective = playing(UganConfig(alone=0.5, entropy=0.2))
    objective.prepare(encoder, images(), 5)
    terms = objective.terms(encoder, images(), torch.Generator().manual_seed(1))
    assert set(terms) == {"labelled", "entropy", "balance"}
    usual, other = playing(UganConfig(entropy=0.2, balance=1.0))
    later = other.terms(usual, images(), torch.Generator().manual_seed(1))
    assert terms["entropy"].item() == pytest.approx(later["entropy"].item(), rel=1e-4)
    assert terms["balance"].item() == pytest.approx(BALANCE_ALONE * later["balance"].item(), rel=1e-4)
    optimiser, players = build_optimiser(_stage(), encoder, objective), owners(encoder, objective)
    assert moved_by_a_step(terms, optimiser, players) == {"classifier"}
    objective.prepare(encoder, images(), 6)
    assert set(objective.terms(encoder, images(), torch.Generator())) == TERMS["ugan"]


def test_generated_images_are_classified_only_late_in_the_stage() -> None:
    encoder, objective = playing(UganConfig(fake_from=0.5))
    for step, late in ((5, False), (6, True)):
        objective.prepare(encoder, images(), step)
        assert ("made" in objective.terms(encoder, images(), torch.Generator())) == late


def test_the_supervised_arm_does_not_look_at_images_without_labels() -> None:
    encoder, objective = playing(UganConfig(arm="supervised"))
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    losses = []
    for seed in (0, 1):
        encoder.load_state_dict(state)
        others = torch.randint(0, 256, (12, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        terms = objective.terms(encoder, ImageBatch.whole(others, torch.full((12,), -1)), torch.Generator().manual_seed(1))
        losses.append(terms["labelled"].item())
    assert losses[0] == losses[1]


def test_players_take_turns_where_that_is_asked_for() -> None:
    encoder, objective = playing(UganConfig(alternating=True, fake_from=0.0))
    optimiser = build_optimiser(_stage(), encoder, objective)
    players, turns = owners(encoder, objective), []
    for step in range(1, 5):
        optimiser.zero_grad()
        objective.prepare(encoder, images(), step)
        terms = objective.terms(encoder, images(), torch.Generator().manual_seed(step))
        changed = moved_by_a_step(terms, optimiser, players)
        assert len(changed) == 1
        turns += changed
    assert set(turns) == set(players)


def test_probabilities_are_those_of_the_mean_of_the_heads_weights() -> None:
    encoder, objective = playing(UganConfig(arm="supervised", average=0.5))
    weights = []
    for step in (1, 2, 3):
        with torch.no_grad():
            objective.classifier.weight.fill_(float(step))
        objective.prepare(encoder, images(), step)
        weights.append(objective.mean_classifier.weight[0, 0].item())
    assert weights == pytest.approx([1, 1.5, 2.25])
    encoder.eval()
    found = objective.probabilities(encoder, images().pixels())
    expected = F.softmax(
        encoder(images().pixels()) @ objective.mean_classifier.weight.T + objective.mean_classifier.bias, dim=1
    )
    assert torch.allclose(found, expected, atol=1e-5)


def test_batchnorm_is_left_as_the_images_of_the_set_have_it() -> None:
    encoder, objective = playing(UganConfig())
    last = encoder.to1[4]
    with torch.no_grad():
        last.running_var.fill_(100.0)
    objective.finish(encoder, images(), 0)
    encoder.eval()
    with torch.no_grad():
        embeddings = encoder(images().pixels())
    assert embeddings.mean(0).abs().max().item() < 0.3
    assert embeddings.var(0).mean().item() == pytest.approx(1, abs=0.4)


def test_labels_that_are_missing_are_refused_where_they_are_read(tmp_path) -> None:
    few = splits()
    unknown = replace(few.train, labels=few.train.labels * 0 - 1)
    whole = replace(few, unlabelled=unknown).learned_from

    def build(objective, images) -> None:
        stage = replace(_stage(), objective=objective)
        build_networks(TrainConfig(ResNetConfig(4, 1, 8), (stage,), tmp_path), images, torch.device("cpu"))

    build(UganConfig(), whole)
    with pytest.raises(HoldfastError, match="40 of 80 training images have one"):
        build(SupervisedConfig(), whole)
    with pytest.raises(HoldfastError, match="only 0 of 40 training images"):
        build(UganConfig(), unknown)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"entropy": -1}, {"fake_from": 1.5}, {"average": 1}, {"noise": 0}, {"rate": 0}),
        *({"consistency": 0.5}, {"consistency": float("nan"), "augment": WEAK}, {"alone": 1.1}, {"consistency_from": -0.1}),
    ],
)
def test_what_means_nothing_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="UGAN needs"):
        UganConfig(**wrong)
