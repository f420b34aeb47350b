"""Batches of an epoch, and the seeds of a step."""

from dataclasses import replace

import torch

from holdfast.trainer.config import Stage
from holdfast.trainer.loop.device import to_device
from holdfast.trainer.loop.sampling import draw, seed_generators
from holdfast.trainer.objectives import SupervisedConfig
from tests.trainer.tiny_runs import splits


def test_every_epoch_sees_each_image_at_most_once_and_orders_differ() -> None:
    numbered = replace(to_device(splits(40).train, torch.device("cpu")), labels=torch.arange(40))
    stage = Stage("s", SupervisedConfig(), steps=9, batch_size=16)
    epochs = [torch.cat([draw(numbered, stage, 0, step).labels for step in pair]) for pair in ((1, 2), (3, 4))]
    assert all(len(epoch.unique()) == 32 for epoch in epochs)
    assert not torch.equal(*epochs)
    huge = replace(stage, batch_size=1000)
    assert len(draw(numbered, huge, 0, 7).labels.unique()) == 40


def test_every_shard_of_every_step_has_random_numbers_of_its_own_that_repeat() -> None:
    def first_numbers() -> list[int]:
        generators = [torch.Generator() for _ in range(3)]
        found = []
        for place in ((0, 0, 1), (0, 0, 2), (0, 1, 1), (1, 0, 1)):
            seed_generators(generators, *place)
            found += [int(torch.randint(2**40, (), generator=generator)) for generator in generators]
        return found

    assert len(set(first_numbers())) == 12
    assert first_numbers() == first_numbers()


def test_an_image_keeps_its_row_however_the_set_is_cut() -> None:
    whole = replace(to_device(splits(40).train, torch.device("cpu")), labels=torch.arange(40))
    drawn = draw(whole, Stage("s", SupervisedConfig(), steps=9, batch_size=17), 3, 4)
    parts = [whole, drawn, drawn.at(torch.tensor([5, 2])), *drawn.shards(3), *drawn.chunks(4), *drawn.shards(2)[1].chunks(3)]
    for part in parts:
        assert torch.equal(part.rows, part.labels)
        assert torch.equal(part.images, whole.images[part.rows])
    for cut in (drawn.shards(3), list(drawn.chunks(4))):
        assert torch.equal(torch.cat([part.rows for part in cut]), drawn.rows)
