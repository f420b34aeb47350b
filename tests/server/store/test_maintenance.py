"""Changes are folded into a bundle, and credibility follows them."""

import asyncio
import re
import shutil

import numpy as np
import pytest

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.canary_set import CanarySet
from holdfast.bundle.reader import Bundle, read_manifest
from holdfast.bundle.threat_model import ThreatModel
from holdfast.bundle.writer import BundleWriter
from holdfast.errors import BundleError
from holdfast.model.credibility import calibrate_retriever
from holdfast.model.retrieval.base import bank_of
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.retrieval.table import writers_of
from holdfast.server.store.errors import StoreError
from holdfast.server.store.journal.creation import BUNDLES
from holdfast.server.store.records import Judgement, State
from holdfast.server.store.upkeep import maintenance
from tests.bundles import coloured, of_every_colour, write_coloured_bundle
from tests.server.store.stores import ANNA, new, opened, running, same_as_anew, until


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    directory = write_coloured_bundle(tmp_path_factory.mktemp("bundle"))
    images, labels = of_every_colour(10, 500)
    embeddings = Bundle.open(directory).encoder.embed(images)
    writer = BundleWriter.open(directory)
    writer.add("calibration.npz", CalibrationSet(embeddings, labels, tuple("h" * len(labels))).save)
    writer.commit(read_manifest(directory))
    return directory


async def change(run):
    """Of every kind: added, relabelled and deleted, of the bundle and of the journal, and one that waits."""
    await run.store.add(new("red", 4), "add", ANNA)
    await run.store.add(new("blue", 3, seed=3, label="navy"), "navy", ANNA)
    await run.store.relabel({2: "blue", 61: "navy"}, "relabel", ANNA)
    await run.store.delete([60, 5], "delete", ANNA)


def folders(store):
    return sorted(path.name for path in (store / BUNDLES).iterdir())


async def test_lists_are_whole_while_changes_are_folded(tmp_path, bundle):
    async with running(tmp_path / "store", bundle) as run:
        for turn in range(8):
            await run.store.add(new("red", 8, seed=turn), f"add {turn}", ANNA)
            there = [each.id for each in await run.store.list(limit=1000)]
            folding = asyncio.create_task(run.store.compact())
            while not folding.done():
                assert [each.id for each in await run.store.list(limit=1000)] == there
            await folding


async def test_a_fold_changes_no_answer_and_survives(tmp_path, bundle):
    store = tmp_path / "store"
    queries = np.concatenate([coloured(label, 4, seed=77) for label in range(3)])
    async with running(store, bundle) as run:
        await change(run)
        before, ids, listed = run.model.classifier.classify(queries), run.ids(), await run.store.list(limit=1000)
        version = run.model.description.version
        await run.store.compact()
        after = run.model.classifier.classify(queries)
        assert run.ids() == ids
        assert await run.store.list(limit=1000) == listed
        assert run.model.description.version > version
        assert run.metric("holdfast_store_unfolded_rows") == 0
        np.testing.assert_array_equal(after.labels, before.labels)
        np.testing.assert_allclose(after.probabilities, before.probabilities, atol=1e-5)
        np.testing.assert_allclose(after.soft_margin, before.soft_margin, atol=1e-4)
        folded = Bundle.open(store / BUNDLES / folders(store)[0])
        assert folded.manifest.class_names == ("red", "green", "blue", "navy")
        assert sorted(folded.exemplars.ids.tolist()) == ids
        assert folded.manifest.accuracy is None
        await run.store.relabel({62: "green"}, "later", ANNA)
        await run.store.delete([63, 7], "later still", ANNA)
        receipt = await run.store.add(new("red"), "last", ANNA)
        assert receipt.ids == (67,)
        ids = run.ids()
    async with running(store, bundle) as run:
        assert run.ids() == ids
        assert run.label_of(62) == "green"
        assert same_as_anew(run.model)
        again = await run.store.add(new("red", 4), "add", ANNA)
        assert again.repeated
        await run.store.compact()
        assert run.ids() == ids
        assert len(folders(store)) == 1
    async with running(store, bundle) as run:
        assert run.ids() == ids


async def test_the_ids_of_deleted_exemplars_are_not_given_again_by_a_bundle_of_the_store(tmp_path, bundle):
    store, folded = tmp_path / "store", tmp_path / "folded"
    async with running(store, bundle) as run:
        receipt = await run.store.add(new("red", 2), "add", ANNA)
        await run.store.delete(list(receipt.ids), "delete", ANNA)
        await run.store.compact()
        shutil.copytree(store / BUNDLES / folders(store)[0], folded)
    assert Bundle.open(folded).exemplars.ids.max() < min(receipt.ids)
    assert Bundle.open(folded).next_id == max(receipt.ids) + 1
    async with running(tmp_path / "another", folded) as run:
        assert (await run.store.add(new("red"), "add", ANNA)).ids == (max(receipt.ids) + 1,)


async def test_what_changes_during_a_fold_is_kept(tmp_path, bundle, monkeypatch):
    store, loop = tmp_path / "store", asyncio.get_running_loop()
    async with running(store, bundle) as run:
        await change(run)

        async def meanwhile():
            await run.store.add(new("green", 2), "meanwhile", ANNA)
            await run.store.relabel({62: "green", 9: "green"}, "meanwhile too", ANNA)
            await run.store.delete([63, 10], "and this", ANNA)

        opening = maintenance.base_at

        def held(*arguments):
            asyncio.run_coroutine_threadsafe(meanwhile(), loop).result(20)
            return opening(*arguments)

        monkeypatch.setattr(maintenance, "base_at", held)
        await run.store.compact()
        ids = run.ids()
        assert {67, 68} <= set(ids)
        assert not {63, 10} & set(ids)
        assert (run.label_of(62), run.label_of(9)) == ("green", "green")
    async with running(store, bundle) as run:
        assert run.ids() == ids
        assert (run.label_of(62), run.label_of(9)) == ("green", "green")


async def test_a_fold_that_is_cut_short_leaves_the_store_as_it_was(tmp_path, bundle, monkeypatch):
    store = tmp_path / "store"
    async with running(store, bundle) as run:
        await change(run)
        ids = run.ids()

        def cut(*_):
            raise StoreError("the power went")

        with monkeypatch.context() as patched:
            patched.setattr(maintenance, "base_at", cut)
            with pytest.raises(StoreError, match="power"):
                await run.store.compact()
        assert folders(store) == []  # of what was written and is not stood on nothing is left
        await run.store.delete([8], "later", ANNA)
        (store / BUNDLES / "000000000009").mkdir()  # as a process that was killed leaves it
    async with running(store, bundle) as run:
        assert run.ids() == [i for i in ids if i != 8]
        assert folders(store) == []
        await run.store.compact()
        assert run.ids() == [i for i in ids if i != 8]


@pytest.mark.parametrize("name", ["manifest.json", "index.faiss", "encoder.onnx"])
async def test_a_folded_bundle_of_which_half_is_there_is_refused(tmp_path, bundle, name):
    store = tmp_path / "store"
    async with running(store, bundle) as run:
        await change(run)
        await run.store.compact()
        ids = run.ids()
    file = store / BUNDLES / folders(store)[0] / name
    whole = file.read_bytes()
    file.unlink()  # which may be a further name of the given bundle's own file
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match=re.escape(str(file.parent))):
        opened(store, bundle)
    file.write_bytes(whole)
    async with running(store, bundle) as run:
        assert run.ids() == ids


async def test_it_folds_by_itself(tmp_path, bundle):
    async with running(tmp_path / "store", bundle, compact_after=10) as run:
        await run.store.add(new("red", 12), "one", ANNA)
        await until(lambda: run.metric("holdfast_store_compactions_total", outcome="done") == 1)
        assert run.metric("holdfast_store_unfolded_rows") == 0
        assert len(run.ids()) == 72


async def test_what_waits_for_approval_outlasts_a_fold(tmp_path, bundle):
    def judge(rows, snapshot, recent):
        return [Judgement(quarantine=True, reason="because")] * len(rows)

    store = tmp_path / "store"
    async with running(store, bundle, judge) as run:
        await run.store.add(new("red", 2), "one", ANNA)
        await run.store.relabel({3: "blue"}, "two", ANNA)
        await run.store.compact()
        assert 3 not in run.ids()
    async with running(store, bundle) as run:
        assert [each.id for each in await run.store.list(state=State.QUARANTINED)] == [3, 60, 61]
        await run.store.approve([3, 61], "three", ANNA)
        assert run.label_of(3) == "blue"
        assert 61 in run.ids()
        assert same_as_anew(run.model)


async def test_credibility_is_calibrated_anew_when_enough_has_changed(tmp_path, bundle):
    async with running(tmp_path / "store", bundle, stale_above=0.2) as run:
        first = run.model.classifier.calibration
        await run.store.add(new("red", 6), "one", ANNA)
        assert run.model.description.changed_share == pytest.approx(0.1)
        await run.store.add(new("red", 20, seed=4, label="green"), "two", ANNA)
        await until(lambda: run.metric("holdfast_store_recalibrations_total") == 1)
        described = run.model.description
        assert not described.calibration_stale
        assert described.changed_share == 0
        assert run.model.classifier.calibration != first
        assert described.abstain_below == run.model.classifier.calibration.abstain_below


async def test_without_held_out_images_it_says_that_it_is_stale(tmp_path):
    bundle = write_coloured_bundle(tmp_path / "bundle")
    writer = BundleWriter.open(bundle)
    writer.drop("calibration.npz")
    writer.commit(read_manifest(bundle))
    async with running(tmp_path / "store", bundle, stale_above=0.2) as run:
        await run.store.add(new("red", 15), "one", ANNA)
        assert run.model.description.calibration_stale
        assert run.metric("holdfast_store_calibration_stale") == 1


async def test_a_fold_keeps_precision_and_share_and_asks_the_canary_again(tmp_path, bundle):
    half = write_coloured_bundle(tmp_path / "half")
    given, (images, labels) = Bundle.open(half), of_every_colour(4, 900)
    bank = bank_of(given.index)
    held_out = Bundle.open(bundle).calibration_set
    index = FlatIndex.build(bank, half=True)
    calibration = calibrate_retriever(index, given.manifest.vote, held_out.embeddings, held_out.labels, classes=3, coverage=0.8)
    canary = CanarySet.recorded(
        given.classifier(), images, labels, attacked=None, class_names=given.class_names, threat=ThreatModel("linf", 0.1)
    )
    writer = BundleWriter.open(half)
    for name, write in {**writers_of(index), "canary.npz": canary.save, "calibration.npz": held_out.save}.items():
        writer.add(name, write)
    writer.commit(given.manifest.model_copy(update={"calibration": calibration}))
    async with running(tmp_path / "store", half) as run:
        await run.store.add(new("blue", 3, label="navy"), "one", ANNA)
        await run.store.relabel(dict.fromkeys(range(20), "green"), "two", ANNA)  # what was red
        await run.store.compact()
        folded = Bundle.open(tmp_path / "store" / BUNDLES / folders(tmp_path / "store")[0])
    assert "float16" in str(folded.index)
    assert folded.manifest.calibration.wanted == 0.8
    again = folded.canary_set
    assert again.class_names == ("red", "green", "blue", "navy")
    np.testing.assert_array_equal(again.images, canary.images)
    np.testing.assert_array_equal(again.answers, folded.classifier().classify(again.images).labels)
    assert (again.answers != canary.answers).any()


async def test_weights_of_classes_follow_the_exemplars(tmp_path, bundle):
    corrected = tmp_path / "bundle"
    shutil.copytree(bundle, corrected)
    manifest = read_manifest(corrected)
    vote = manifest.vote.corrected(np.array([20, 20, 20]), 1.0)
    BundleWriter.open(corrected).commit(manifest.model_copy(update={"vote": vote}))
    queries = np.concatenate([coloured(label, 4, seed=77) for label in range(3)])
    async with running(tmp_path / "store", corrected, stale_above=0.2) as run:
        await run.store.add(new("blue", 5, label="navy"), "one", ANNA)
        assert run.model.description.vote.weights_of(4).tolist() == [1, 1, 1, 1]  # until it is calibrated anew
        await run.store.add(new("red", 20, seed=4), "two", ANNA)
        await until(lambda: run.metric("holdfast_store_recalibrations_total") == 1)
        model = run.model
        np.testing.assert_allclose(model.description.vote.weights_of(4), [5 / 40, 1 / 4, 1 / 4, 1])
        before = model.classifier.classify(queries)
        await run.store.compact()
        after = run.model.classifier.classify(queries)
        assert run.model.description.vote == model.description.vote
        np.testing.assert_allclose(after.probabilities, before.probabilities, atol=1e-5)
        np.testing.assert_allclose(after.soft_margin, before.soft_margin, atol=1e-4)
    async with running(tmp_path / "store", corrected) as run:
        assert run.model.description.vote == model.description.vote
