"""A store is taken along to another bundle."""

import asyncio

import numpy as np
import pytest

from holdfast.bundle.reader import Bundle
from holdfast.server.core.holder import PublishError
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.store.errors import JournalMismatchError
from holdfast.server.store.records import Judgement, State
from tests.bundles import COLOURS, Linear, of_every_colour, write_bundle, write_coloured_bundle
from tests.server.store.stores import ANNA, new, running, same_as_anew


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_coloured_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Of another encoder, and of 25 exemplars a class, of the sources tiny/0 to tiny/74, one of them under another class."""
    return write_bundle(
        tmp_path_factory.mktemp("other"),
        Linear.of_colours(16, 8, seed=99),
        ("green", "violet", *(set(COLOURS) - {"green"})),
        exemplars=of_every_colour(25, 7),
    )


async def reload(run, directory):
    bundle = await asyncio.to_thread(Bundle.open, directory)
    snapshot = ModelSnapshot.of(bundle, 0, f"{directory.name}@1")
    await run.store.follow(bundle, snapshot, lambda model: run.holder.publish_next(lambda _: model))
    return bundle


async def test_added_exemplars_are_embedded_by_the_new_encoder(tmp_path, bundle, other):
    def judge(rows, snapshot, recent):
        return [Judgement(label == 2, "blue") for label in rows.labels.tolist()]

    store = tmp_path / "store"
    added = [*new("red", 4), *new("blue", 2), *new("green", 3, seed=8, label="moss")]
    async with running(store, bundle, judge, keep_images=True) as run:
        await run.store.add(added, "one", ANNA)  # as 60 to 68, which the other bundle has too
        await run.store.delete([5, 61], "two", ANNA)
        await run.store.relabel({6: "moss"}, "three", ANNA)
        opened = await reload(run, other)
        names = run.model.description.class_names
        assert names[:4] == opened.manifest.class_names
        assert names[4:] == ("moss",)
        ids = run.ids()
        assert len(ids) == 75 - 1 + 6
        assert ids[-1] == 82  # after 74 come eight, of which two wait
        assert 5 not in ids
        assert run.label_of(6) == "moss"
        index = run.model.classifier.retriever
        expected = opened.encoder.embed(np.stack([each.pixels for each in added]))
        np.testing.assert_allclose(index.reconstruct(np.array([75])), expected[:1], atol=1e-6)
        waiting = await run.store.list(state=State.QUARANTINED)
        assert [each.source for each in waiting] == ["camera/0/0", "camera/0/1"]
        assert same_as_anew(run.model)
        receipt = await run.store.add(new("red"), "four", ANNA)
        assert receipt.ids[0] == 83
        ids = run.ids()
    async with running(store, other) as run:
        assert run.ids() == ids
        assert run.label_of(6) == "moss"
        await run.store.approve([each.id for each in await run.store.list(state=State.QUARANTINED)], "five", ANNA)
        assert same_as_anew(run.model)
    with pytest.raises(JournalMismatchError):
        async with running(store, bundle):
            pass


async def test_a_store_can_go_back(tmp_path, bundle, other):
    async with running(tmp_path / "store", bundle, keep_images=True) as run:
        await run.store.add(new("red", 2), "one", ANNA)
        await run.store.compact()
        await reload(run, other)
        await run.store.add(new("red", 1, seed=4), "two", ANNA)
        await reload(run, bundle)
        assert run.model.description.exemplars == 63
        assert same_as_anew(run.model)
        audited = run.store._journal.audit()
        assert [each["kind"] for each in audited] == ["add", "follow", "add", "follow"]


async def test_without_pictures_the_old_bundle_goes_on(tmp_path, bundle, other):
    async with running(tmp_path / "store", bundle) as run:
        await run.store.add(new("red", 3), "one", ANNA)
        before = run.model
        with pytest.raises(JournalMismatchError, match="3 of 3"):
            await reload(run, other)
        assert run.model is before
        await run.store.delete([60, 61, 62], "two", ANNA)
        await reload(run, other)
        assert run.model.description.exemplars == 75


async def test_a_model_that_cannot_be_published_changes_nothing(tmp_path, bundle, other):
    def refuse(model):
        raise PublishError("no")

    async with running(tmp_path / "store", bundle, keep_images=True) as run:
        await run.store.add(new("red", 3), "one", ANNA)
        ids = run.ids()
        opened = await asyncio.to_thread(Bundle.open, other)
        with pytest.raises(PublishError):
            await run.store.follow(opened, ModelSnapshot.of(opened, 0, "x@1"), refuse)
        await run.store.add(new("red", 1), "two", ANNA)
        assert run.ids() == [*ids, 63]
    async with running(tmp_path / "store", bundle) as run:
        assert run.ids() == [*ids, 63]


async def test_the_same_bundle_again_needs_no_pictures(tmp_path, bundle):
    async with running(tmp_path / "store", bundle) as run:
        await run.store.add(new("red", 3), "one", ANNA)
        await run.store.compact()
        await run.store.delete([61], "two", ANNA)
        ids = run.ids()
        await reload(run, bundle)
        assert run.ids() == ids
        assert run.model.description.bundle_version == f"{bundle.name}@1"


async def test_a_server_of_versions_takes_the_store_along_when_it_starts(tmp_path, bundle, other):
    async with running(tmp_path / "store", bundle, keep_images=True) as run:
        await run.store.add(new("red", 3), "one", ANNA)
    async with running(tmp_path / "store", other, follow=True) as run:
        assert run.model.description.exemplars == 78
        assert same_as_anew(run.model)
