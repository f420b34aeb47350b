"""Learning on from a stream: what holds on to what was learned before, and what is carried from chunk to chunk."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import beta, kstest
from torch import nn

from holdfast.data import DataError
from holdfast.data.streams import StreamConfig, chunks_of, replayed
from holdfast.errors import HoldfastError
from holdfast.trainer import train
from holdfast.trainer.config import Stage
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.loop.data_parallel import DataParallel
from holdfast.trainer.objectives import (
    ClustersConfig,
    DeaclConfig,
    ImageBatch,
    SelfDistilledConfig,
    SequentialConfig,
    SimclrConfig,
    SsatConfig,
    SupervisedConfig,
    build_objective,
)
from holdfast.trainer.objectives.sequential.distillation import distillation
from holdfast.trainer.objectives.sequential.importance import importance, of_mean_one
from holdfast.trainer.objectives.sequential.mixing import Reservoir, draw_share
from holdfast.trainer.objectives.statistics import estimate_batchnorm
from holdfast.trainer.state import checkpoint
from tests.trainer.objectives.batches import batch
from tests.trainer.tiny_runs import SMALL, same, splits, twice

STREAM = StreamConfig("instance", chunks=2, seed=1)
SIMCLR = SimclrConfig(hidden=8, projection=4, augment=SMALL)


class Small(nn.Module):
    """A net of 40 weights, without a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AvgPool2d(16), nn.Flatten(), nn.Linear(12, 3, bias=False), nn.Tanh(), nn.Linear(3, 1), nn.Dropout(0.9)
        )

    def forward(self, pixels):
        return self.layers(pixels)


class OfUnitLength(Small):
    def forward(self, pixels):
        return F.normalize(torch.cat([self.layers(pixels), torch.ones(len(pixels), 1)], 1), dim=1)


def plain_loop(net, images, size):
    """Memory-aware synapses by the letter: each derivative by itself, weight by weight."""
    found = [torch.zeros_like(parameter) for parameter in net.parameters()]
    net.eval()
    for start in range(0, len(images), size):
        net.zero_grad()
        loss = sum((net(image[None]) ** 2).sum() for image in images.pixels()[start : start + size])
        loss.backward()
        for omega, parameter in zip(found, net.parameters(), strict=True):
            for place, slope in enumerate(parameter.grad.flatten().tolist()):
                omega.view(-1)[place] += abs(slope) / len(images)
    return found


@pytest.mark.parametrize("size", [1, 5, 12])
def test_omega_is_what_a_plain_loop_finds(size) -> None:
    torch.manual_seed(0)
    net = Small().train()
    found = importance(net, batch(12), size)
    assert net.training
    for omega, expected in zip(found, plain_loop(net, batch(12), size), strict=True):
        torch.testing.assert_close(omega, expected)
        assert (omega >= 0).all()


def test_of_an_output_of_unit_length_nothing_matters_and_of_an_encoders_own_every_layer_does() -> None:
    torch.manual_seed(0)
    assert max(float(omega.max()) for omega in importance(OfUnitLength(), batch(12), 4)) < 1e-6
    encoder = build_encoder(ResNetConfig(4, 1, 8))
    estimate_batchnorm(encoder, batch(12), seed=0)
    omega = importance(encoder, batch(12), 4)
    assert all((each > 0).any() for each in omega)
    scaled = of_mean_one(omega)
    assert sum(float(each.sum()) for each in scaled) / sum(each.numel() for each in scaled) == pytest.approx(1)
    nothing = [torch.zeros(3), torch.zeros(2, 2)]
    assert all(torch.equal(a, b) for a, b in zip(of_mean_one(nothing), nothing, strict=True))


def anchored(encoder, **options):
    objective = build_objective(SequentialConfig(SIMCLR, anchor=3.0, **options), encoder, 2)
    everything = batch(12)
    objective.begin(encoder, everything, torch.arange(8))
    return objective, everything


def test_the_anchor_pulls_by_what_matters_and_not_at_all_where_the_weights_are() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8))
    objective, everything = anchored(encoder)
    omega = of_mean_one(importance(encoder, everything.at(torch.arange(8)), 16))
    inner = objective.inner.terms(encoder, everything, torch.Generator().manual_seed(0))
    terms = objective.terms(encoder, everything, torch.Generator().manual_seed(0))
    assert terms.keys() == {*inner, "anchor"} == set(objective.names)
    torch.testing.assert_close(terms["nt_xent"], inner["nt_xent"], rtol=1e-3, atol=1e-3)  # BatchNorm has moved on
    assert terms["anchor"] == 0
    before = [parameter.detach().clone() for parameter in encoder.parameters()]
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    encoder.zero_grad()
    objective.terms(encoder, everything, torch.Generator())["anchor"].backward()
    for parameter, weight, each in zip(encoder.parameters(), before, omega, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * 3.0 * each * (parameter.detach() - weight))


def test_importance_adds_up_over_chunks_and_the_last_weights_are_held() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8))
    objective, everything = anchored(encoder)
    first = [omega.clone() for omega in objective.anchor.omega]
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1.1)
    following = build_objective(objective.config, encoder, 2)
    following.load_state_dict(objective.state_dict(), strict=False)
    following.begin(encoder, everything, torch.arange(8, 12))
    more = of_mean_one(importance(encoder, everything.at(torch.arange(8, 12)), 16))
    for total, earlier, each in zip(following.anchor.omega, first, more, strict=True):
        torch.testing.assert_close(total, earlier + each)
    assert all(torch.equal(a, b) for a, b in zip(following.anchor.weights, encoder.parameters(), strict=True))


def by_the_letter(predicted, before, temperature):
    """CaSSLe's loss, sum by sum."""
    p, o = F.normalize(predicted, dim=1), F.normalize(before, dim=1)
    number, total = len(p), 0.0
    for one, other in ((p, o), (o, p)):
        for i in range(number):
            scores = [float(one[i] @ other[k]) / temperature for k in range(number)]
            among = sum(math.exp(score) for k, score in enumerate(scores) if k != i)
            total -= math.log(math.exp(scores[(i + number // 2) % number]) / among)
    return total / (2 * number)


def test_distillation_is_the_loss_of_its_paper() -> None:
    torch.manual_seed(0)
    predicted, before = torch.randn(8, 5), torch.randn(8, 5)
    assert float(distillation(predicted, before, 0.2)) == pytest.approx(by_the_letter(predicted, before, 0.2), rel=1e-5)


def test_what_is_distilled_is_the_encoder_of_the_stage_before_and_it_stays() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8))
    objective = build_objective(SequentialConfig(SIMCLR, distil=2.0), encoder, 2)
    other = build_encoder(ResNetConfig(4, 1, 8))
    everything = batch(12)
    first = objective.terms(encoder, everything, torch.Generator().manual_seed(0))
    assert first.keys() == {"nt_xent"}  # there is nothing to predict yet
    objective.begin(other, everything, torch.arange(8))
    held = {name: value.clone() for name, value in objective.distillation.before.state_dict().items()}
    assert all(torch.equal(held[name], value) for name, value in other.state_dict().items())
    objective.train()
    terms = objective.terms(encoder, everything, torch.Generator().manual_seed(0))
    assert terms.keys() == {"nt_xent", "distil"} == set(objective.names)
    terms["distil"].backward()
    learning = (*encoder.parameters(), *objective.distillation.predictor.parameters())
    assert all(parameter.grad is not None for parameter in learning)
    assert all(parameter.grad is None for parameter in objective.distillation.before.parameters())
    after = objective.distillation.before.state_dict()
    assert all(torch.equal(held[name], value) for name, value in after.items())  # BatchNorm's statistics, too
    carried = build_objective(SequentialConfig(SIMCLR, distil=2.0), encoder, 2)
    carried.load_state_dict(objective.state_dict(), strict=False)
    predictors = (each.distillation.predictor.state_dict().values() for each in (carried, objective))
    assert all(torch.equal(one, another) for one, another in zip(*predictors, strict=True))


def distinct(first, count, side=32):
    """Images that are numbered by their first two colours."""
    numbers = torch.arange(first, first + count)
    colours = torch.stack([numbers % 256, numbers // 256, numbers * 0], 1).to(torch.uint8)
    images = colours[:, None, None, :].expand(-1, side, side, -1).contiguous()
    return ImageBatch.whole(images, torch.zeros(count, dtype=torch.int64))


def numbers_of(images):
    return (images[:, 0, 0, 0].long() + 256 * images[:, 0, 0, 1].long()).tolist()


def test_a_reservoir_keeps_each_image_of_the_stream_as_likely_as_any_other() -> None:
    reservoir = Reservoir(500, 1)
    for first in range(0, 10_000, 2_500):
        reservoir.offer(distinct(first, 2_500, side=1))
    kept = numbers_of(reservoir.images)
    assert (reservoir.kept(), int(reservoir.seen), len(set(kept))) == (500, 10_000, 500)
    assert kstest(np.array(kept) / 10_000, "uniform").pvalue > 0.01
    few = Reservoir(8, 32)
    few.offer(distinct(5, 3))
    assert few.kept() == 3
    assert numbers_of(few.images[:3]) == [5, 6, 7]


def test_every_image_is_mixed_with_one_that_is_kept_by_one_share() -> None:
    reservoir, fresh = Reservoir(4, 32), distinct(200, 6)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(reservoir.mixed(fresh, generator).images, fresh.images)  # nothing came before
    old = distinct(0, 1)
    reservoir.offer(old)
    shares = []
    for _ in range(20):
        mixed = reservoir.mixed(fresh, generator)
        assert torch.equal(mixed.rows, fresh.rows)
        share = mixed.images[0, 0, 0, 0].item() / 200
        expected = share * fresh.images.float() + (1 - share) * old.images.float()
        torch.testing.assert_close(mixed.images.float(), expected, atol=1.1, rtol=0)
        shares.append(share)
    assert len(set(shares)) > 10


def test_shares_are_of_the_distribution_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [float(draw_share(generator, torch.device("cpu"))) for _ in range(2000)]
    assert kstest(drawn, beta(0.4, 0.4).cdf).pvalue > 0.01


def test_what_is_kept_is_carried_from_stage_to_stage_and_learned_from() -> None:
    torch.manual_seed(0)
    encoder, everything = build_encoder(ResNetConfig(4, 1, 8)), batch(12)
    objective = build_objective(SequentialConfig(SIMCLR, mix=3), encoder, 2)
    first = objective.terms(encoder, everything, torch.Generator().manual_seed(0))
    objective.begin(encoder, everything, torch.arange(8))
    following = build_objective(SequentialConfig(SIMCLR, mix=3), encoder, 2)
    following.load_state_dict(objective.state_dict(), strict=False)
    following.begin(encoder, everything, torch.arange(8, 12))
    assert int(following.reservoir.seen) == 12
    of_set = {image.numpy().tobytes() for image in everything.images}
    assert {image.numpy().tobytes() for image in following.reservoir.images} <= of_set
    terms = following.terms(encoder, everything, torch.Generator().manual_seed(0))
    assert terms.keys() == {"nt_xent"} == set(following.names)
    assert terms["nt_xent"] != first["nt_xent"]


def test_threads_share_the_anchor_and_do_not_average_it() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8))
    objective, everything = anchored(encoder)
    storage, values = objective.anchor.omega[0].data_ptr(), objective.anchor.omega[0].clone()
    with DataParallel(3, torch.autocast("cpu", enabled=False)) as parallel:
        parallel.backward(encoder, objective, everything, [torch.Generator() for _ in range(3)])
    assert objective.anchor.omega[0].data_ptr() == storage
    assert torch.equal(objective.anchor.omega[0], values)


def test_what_an_unwrapped_objective_learned_is_taken_over() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8))
    plain, wrapped = build_objective(SIMCLR, encoder, 2), build_objective(SequentialConfig(SIMCLR, anchor=1.0), encoder, 2)
    assert not torch.equal(plain.head[0].weight, wrapped.inner.head[0].weight)
    wrapped.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(plain.head[0].weight, wrapped.inner.head[0].weight)


@pytest.mark.parametrize("inner", [DeaclConfig(augment=SMALL), ClustersConfig(prototypes=3, augment=SMALL)])
def test_a_teacher_is_the_encoder_as_the_stage_before_left_it(inner) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8))
    objective = build_objective(SequentialConfig(inner), encoder, 2)
    for _ in range(2):
        with torch.no_grad():
            next(encoder.parameters()).add_(1)
        objective.begin(encoder, batch(12), torch.arange(12))
        objective.prepare(encoder, batch(12), 1)
        assert same(objective.inner.teacher, encoder)


def test_batchnorm_knows_what_the_stage_has_seen() -> None:
    encoder = build_encoder(ResNetConfig(4, 1, 8)).train()
    bright, dark = batch(20), batch(20)
    bright.images[:] = 200 + bright.images // 8
    dark.images[:] //= 8
    for _ in range(40):
        encoder(bright.pixels())
    both = replace(bright, images=torch.cat([bright.images, dark.images]), labels=torch.zeros(40), rows=torch.arange(40))
    estimate_batchnorm(encoder, both, seed=0)
    assert encoder.training
    assert all(norm.momentum == 0.1 for norm in encoder.modules() if isinstance(norm, nn.BatchNorm2d))
    encoder.eval()
    with torch.no_grad():
        embeddings = encoder(both.pixels())
    # The last layer is a BatchNorm: what it makes of these images has mean 0 and deviation 1.
    torch.testing.assert_close(embeddings.mean(0), torch.zeros(8), atol=0.05, rtol=0)
    torch.testing.assert_close(embeddings.std(0), torch.ones(8), atol=0.1, rtol=0)


def stream_run(config, *, steps=3, **options):
    objective = SequentialConfig(SIMCLR, **({"replay": 0.0} | options), anchor_batch=4)
    stages = tuple(Stage(f"chunk{n}", objective, steps=steps, batch_size=8, chunk=n) for n in range(2))
    return replace(config, stages=stages, stream=STREAM, k=1)


@pytest.mark.parametrize("options", [{}, {"replay": 0.3, "anchor": 1.0}, {"distil": 1.0}, {"mix": 4}])
def test_a_stream_that_is_interrupted_ends_as_one_that_is_not(two_stage_run, monkeypatch, options) -> None:
    whole, resumed, _ = twice(stream_run(two_stage_run, **options), monkeypatch, 4)
    assert same(whole.encoder, resumed.encoder)


def test_every_batch_is_of_the_chunk_and_a_quarter_of_it_of_what_is_kept(two_stage_run, monkeypatch) -> None:
    drawn = []
    places_of = train.places_of

    def draw_and_keep(learned, *arguments):
        places = places_of(learned, *arguments)
        drawn.append(set(learned.rows[places].tolist()))
        return places

    monkeypatch.setattr(train, "places_of", draw_and_keep)
    config = stream_run(two_stage_run, replay=0.2)
    train.train(config, splits())
    first, second = (set(rows.tolist()) for rows in chunks_of(splits().train, STREAM))
    kept = set(replayed(chunks_of(splits().train, STREAM)[:1], 0.2, config.seed).tolist())
    assert len(drawn) == 6
    assert all(rows <= first and len(rows) == 8 for rows in drawn[:3])
    assert all(len(rows & second) == 6 and len(rows & kept) == 2 == len(rows - second) for rows in drawn[3:])
    drawn.clear()
    train.train(replace(stream_run(two_stage_run), out=config.out.with_name("plain")), splits())
    assert [len(rows & second) for rows in drawn] == [0, 0, 0, 8, 8, 8]


def test_the_anchor_holds_the_weights_and_each_chunk_has_its_say(two_stage_run) -> None:
    apart = {}
    for anchor in (0.0, 1e4):
        config = replace(
            stream_run(two_stage_run, anchor=anchor, steps=12), out=two_stage_run.out.with_name(f"anchor-{anchor:g}")
        )
        first = train.train(replace(config, stages=config.stages[:1]), splits()).encoder
        both = train.train(
            replace(config, start_from=config.out, out=config.out.with_name(f"both-{anchor:g}")), splits()
        ).encoder
        pairs = zip(first.parameters(), both.parameters(), strict=True)
        apart[anchor] = sum(float((a.detach() - b.detach()).abs().mean()) for a, b in pairs)
    assert apart[1e4] < 0.5 * apart[0.0]
    tensors = checkpoint.load(two_stage_run.out.with_name("both-10000")).tensors
    assert any(name.startswith("objective.anchor.omega_") and value.any() for name, value in tensors.items())


@pytest.mark.parametrize(
    ("options", "stage"),
    [
        ({"stream": StreamConfig("instance", 2)}, {"chunk": 2}),
        ({"stream": StreamConfig("instance", 20), "threads": 2}, {"chunk": 0}),
    ],
)
def test_a_chunk_that_cannot_be_learned_from_is_refused_at_once(two_stage_run, options, stage) -> None:
    config = stream_run(two_stage_run)
    stages = (replace(config.stages[0], **stage),)
    with pytest.raises(HoldfastError):
        train.train(replace(config, stages=stages, **options), splits())
    assert not config.out.exists()


def test_a_chunk_of_one_image_is_refused_at_once(two_stage_run) -> None:
    config = replace(stream_run(two_stage_run), stream=StreamConfig("instance", 30))
    with pytest.raises(DataError, match="1 image:"):
        train.train(config, splits())


def test_labels_may_be_read_where_chunks_have_them(two_stage_run) -> None:
    stages = tuple(Stage(f"{n}", SupervisedConfig(SMALL), steps=2, batch_size=8, chunk=n) for n in range(2))
    trained = train.train(replace(two_stage_run, stages=stages, stream=STREAM, k=1), splits())
    assert np.isfinite(trained.seconds)


@pytest.mark.parametrize(
    "options",
    [
        {"replay": 1.5},
        {"anchor": -1.0},
        {"distil": float("nan")},
        {"mix": -1},
        {"anchor_batch": 0},
        {"inner": SsatConfig(arm="guided")},
        {"inner": SelfDistilledConfig(), "mix": 256},
    ],
)
def test_what_cannot_be_is_refused(options) -> None:
    with pytest.raises(ValueError, match="learning on needs|labels|target"):
        SequentialConfig(**options)
