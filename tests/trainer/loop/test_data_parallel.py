"""Learning from shards of a batch is learning from the batch."""

import copy
import threading
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.attacks.pgd import frozen
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.loop.data_parallel import DataParallel
from holdfast.trainer.objectives import ImageBatch, ImageMemory
from holdfast.trainer.objectives.base import Objective

PLAIN = torch.autocast("cpu", torch.bfloat16, enabled=False)


class Classify(Objective):
    """Cross-entropy; where asked, only on batches that begin with an even label, and with the encoder held still first."""

    names = ("loss",)

    def __init__(self, dim: int, *, even: bool = False) -> None:
        super().__init__()
        self.classifier, self.even = nn.Linear(dim, 4), even
        self.seen: list[str] = []

    def terms(self, encoder, batch, generator) -> dict[str, Tensor]:
        self.seen.append(threading.current_thread().name)
        with frozen(encoder, self):
            encoder(batch.pixels())
        if self.even and batch.labels[0] % 2:
            return {}
        return {"loss": F.cross_entropy(self.classifier(encoder(batch.pixels())), batch.labels)}


@pytest.fixture(autouse=True)
def one_thread_each() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_problem(*, even: bool = False) -> tuple[nn.Module, Classify, ImageBatch]:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8)).double()
    encoder.normalise.float()
    images = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8)
    return encoder, Classify(8, even=even).double(), ImageBatch.whole(images, torch.tensor([0, 1, 2, 3, 1, 2, 3, 0]))


def gradients(module: nn.Module) -> list[Tensor]:
    return [p.grad for p in module.parameters() if p.grad is not None]


def generators(number: int) -> list[torch.Generator]:
    return [torch.Generator() for _ in range(number)]


class AsDouble(nn.Module):
    """The encoder for float32 pixels, in float64: so that sums in another order are still equal."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.inner = encoder

    def forward(self, pixels: Tensor) -> Tensor:
        embedding: Tensor = self.inner(pixels.double())
        return embedding


@pytest.mark.parametrize("number", [1, 2, 4])
def test_gradients_and_terms_are_those_of_the_whole_batch(number) -> None:
    encoder, objective, batch = small_problem()
    encoder = AsDouble(encoder).eval()  # without BatchNorm's statistics shards do not differ
    other, whole = copy.deepcopy((encoder, objective))
    loss = whole.terms(other, batch, torch.Generator())["loss"]
    loss.backward()
    with DataParallel(number, PLAIN) as parallel:
        terms = parallel.backward(encoder, objective, batch, generators(number))
    torch.testing.assert_close(terms["loss"], loss.detach())
    assert not terms["loss"].requires_grad
    for module, reference in ((encoder, other), (objective, whole)):
        torch.testing.assert_close(gradients(module), gradients(reference))


def test_gradients_add_up_over_calls() -> None:
    encoder, objective, batch = small_problem()
    encoder = AsDouble(encoder).eval()
    with DataParallel(2, PLAIN) as parallel:
        parallel.backward(encoder, objective, batch, generators(2))
        once = [g.clone() for g in gradients(encoder)]
        parallel.backward(encoder, objective, batch, generators(2))
    torch.testing.assert_close(gradients(encoder), [2 * g for g in once])


def test_running_statistics_are_the_mean_of_the_shards() -> None:
    encoder, objective, batch = small_problem()
    encoder = AsDouble(encoder).train()
    expected = []
    for shard in batch.shards(2):
        alone = copy.deepcopy(encoder)
        objective.terms(alone, shard, torch.Generator())
        expected.append(dict(alone.named_buffers()))
    with DataParallel(2, PLAIN) as parallel:
        parallel.backward(encoder, objective, batch, generators(2))
    for name, buffer in encoder.named_buffers():
        if buffer.is_floating_point():
            torch.testing.assert_close(buffer, (expected[0][name] + expected[1][name]) / 2)
        else:
            assert buffer == expected[0][name] == 1
    assert all(p.requires_grad for p in encoder.parameters())
    assert encoder.training


def test_a_shard_without_a_loss_is_left_out() -> None:
    encoder, objective, batch = small_problem(even=True)
    encoder = AsDouble(encoder).eval()
    first, second = batch.shards(2)
    assert (first.labels[0] % 2, second.labels[0] % 2) == (0, 1)
    other, alone = copy.deepcopy((encoder, objective))
    alone.terms(other, first, torch.Generator())["loss"].backward()
    with DataParallel(2, PLAIN) as parallel:
        parallel.backward(encoder, objective, batch, generators(2))
        torch.testing.assert_close(gradients(encoder), gradients(other))
        nothing = parallel.backward(
            encoder, objective, ImageBatch.whole(batch.images, torch.ones(8, dtype=torch.long)), generators(2)
        )
    assert nothing == {}
    torch.testing.assert_close(gradients(encoder), gradients(other))


def test_mixed_precision_reaches_every_worker() -> None:
    dtypes = []

    class RecordPrecision(Classify):
        def terms(self, encoder, batch, generator) -> dict[str, Tensor]:
            embedding = encoder(batch.pixels())
            dtypes.append((embedding.dtype, threading.get_ident()))
            return {"loss": embedding.float().square().mean()}

    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8))
    with DataParallel(2, torch.autocast("cpu", torch.bfloat16)) as parallel:
        for _ in range(3):
            parallel.backward(encoder, RecordPrecision(8), small_problem()[2], generators(2))
    assert {dtype for dtype, _ in dtypes} == {torch.bfloat16}
    assert threading.get_ident() not in {thread for _, thread in dtypes}


def test_what_goes_wrong_in_a_worker_is_raised() -> None:
    class Broken(Classify):
        def terms(self, encoder, batch, generator) -> dict[str, Tensor]:
            raise RuntimeError("broken shard")

    encoder, _, batch = small_problem()
    with DataParallel(2, PLAIN) as parallel, pytest.raises(RuntimeError, match="broken shard"):
        parallel.backward(encoder, Broken(8), batch, generators(2))


class Remember(Classify):
    """Counts the visits of each image, and keeps a mean of what the classifier says of it."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.visits, self.said = ImageMemory(dtype=torch.int64), ImageMemory(4, dtype=torch.float16)

    def terms(self, encoder, batch, generator) -> dict[str, Tensor]:
        logits = self.classifier(encoder(batch.pixels()))
        self.visits.write(batch.rows, self.visits.at(batch.rows) + 1)
        self.said.write(batch.rows, 0.5 * self.said.at(batch.rows) + 0.5 * logits)
        return {"loss": F.cross_entropy(logits, batch.labels)}


@pytest.mark.parametrize("number", [1, 2, 4])
def test_threads_write_one_memory_and_each_row_once(number) -> None:
    encoder, _, batch = small_problem()
    encoder, objective = AsDouble(encoder).eval(), Remember(8).double()
    objective.size(20, 1)
    alone = copy.deepcopy(objective)
    rows = torch.tensor([3, 19, 0, 7, 8, 5, 11, 4])
    batch = ImageBatch(batch.images, batch.labels, rows)
    with DataParallel(number, PLAIN) as parallel:
        for _ in range(3):
            parallel.backward(encoder, objective, batch, generators(number))
            alone.terms(encoder, batch, torch.Generator())
    visited = torch.zeros(20, dtype=torch.int64)
    visited[rows] = 3
    assert torch.equal(objective.visits.values, visited)
    torch.testing.assert_close(objective.said.values, alone.said.values)
    assert objective.said.values[rows].abs().min() > 0
