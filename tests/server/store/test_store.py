"""Exemplars change while they are served, and are there again afterwards."""

import asyncio
import sqlite3
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from holdfast.server.store.errors import (
    InvalidChangeError,
    JournalDamagedError,
    JournalMismatchError,
    StoreLimitError,
    StoreLockedError,
    UnknownExemplarError,
    UnknownLabelError,
)
from holdfast.server.store.journal.creation import FILE
from holdfast.server.store.limits import RateLimit, StoreLimits
from holdfast.server.store.records import Author, Judgement, NewExemplar, State
from tests.bundles import coloured, write_coloured_bundle
from tests.kinds import register
from tests.server.store.stores import ANNA, new, opened, running, same_as_anew


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_coloured_bundle(tmp_path_factory.mktemp("bundle"))  # 20 exemplars of red, green and blue each


async def test_a_change_is_served_before_it_is_acknowledged(tmp_path, bundle):
    async with running(tmp_path / "store", bundle) as run:
        receipt = await run.store.add(new("red", 3), "one", ANNA)
        assert receipt.ids == (60, 61, 62)
        assert receipt.states == (State.SERVED,) * 3
        assert set(receipt.ids) <= set(run.ids())
        described = run.model.description
        assert (described.exemplars, described.exemplars_revision, described.version) == (63, receipt.sequence, 2)
        assert run.store.sequence == receipt.sequence == 1
        await run.store.relabel({61: "green"}, "two", ANNA)
        assert run.label_of(61) == "green"
        await run.store.delete([60, 5], "three", ANNA)
        assert 60 not in run.ids()
        assert 5 not in run.ids()
        assert same_as_anew(run.model)
        assert run.metric("holdfast_store_exemplars") == 61
        assert run.metric("holdfast_store_sequence") == 3


async def test_a_class_begins_with_its_first_exemplar(tmp_path, bundle):
    bright = np.full((6, 16, 16, 3), 255, dtype=np.uint8)
    bright[:, :, :, 2] = 0
    async with running(tmp_path / "store", bundle) as run:
        before = run.model
        await run.store.add([NewExemplar(each, "yellow") for each in bright], "one", ANNA)
        assert run.model.description.class_names == ("red", "green", "blue", "yellow")
        answers = run.model.classifier.classify(bright[:1])
        assert answers.labels.tolist() == [3]
        assert np.isfinite(answers.soft_margin).all()
        assert before.classifier.classify(bright[:1]).labels.tolist() != [3]  # a snapshot stays what it was
        labels = await run.store.labels()
        assert [(each.id, each.name, each.exemplars) for each in labels][2:] == [(2, "blue", 20), (3, "yellow", 6)]


async def test_everything_is_there_again(tmp_path, bundle):
    async with running(tmp_path / "store", bundle, stale_above=1.0) as run:
        await run.store.add(new("red", 4), "one", ANNA)
        await run.store.add(new("blue", 2, seed=9, label="navy"), "two", ANNA)
        await run.store.relabel({60: "navy", 3: "green"}, "three", ANNA)
        await run.store.delete([61, 7], "four", ANNA)
        queries = np.concatenate([coloured(label, 4, seed=77) for label in range(3)])
        before, ids = run.model.classifier.classify(queries), run.ids()
        listed = await run.store.list(limit=1000)
        described = run.model.description
    async with running(tmp_path / "store", bundle, stale_above=1.0) as run:
        again = run.model.classifier.classify(queries)
        assert run.ids() == ids
        assert await run.store.list(limit=1000) == listed
        assert run.model.description.model_dump() == described.model_dump() | {"version": 1}
        for name in ("labels", "probabilities", "credibility", "abstain"):
            np.testing.assert_array_equal(getattr(again, name), getattr(before, name))
        np.testing.assert_allclose(again.soft_margin, before.soft_margin, atol=1e-4)
        receipt = await run.store.add(new("red"), "five", ANNA)
        assert receipt.ids == (66,)  # never an id that was used before


async def test_the_same_request_is_made_once(tmp_path, bundle):
    async with running(tmp_path / "store", bundle) as run:
        first = await run.store.add(new("red", 2), "one", ANNA)
        again = await run.store.add(new("red", 2), "one", ANNA)
        assert (again.sequence, again.ids, again.repeated) == (first.sequence, first.ids, True)
        both = await asyncio.gather(*(run.store.add(new("blue", 1), "two", ANNA) for _ in range(5)))
        assert sorted(each.repeated for each in both) == [False, True, True, True, True]
        assert len({each.ids for each in both}) == 1
        other = await run.store.add(new("red", 1), "one", Author("berta"))
        assert not other.repeated
        with pytest.raises(InvalidChangeError, match="another change"):
            await run.store.add(new("red", 3), "one", ANNA)
    async with running(tmp_path / "store", bundle) as run:
        again = await run.store.add(new("red", 2), "one", ANNA)
        assert again.repeated
        assert again.ids == first.ids


async def test_doubtful_exemplars_wait_for_approval(tmp_path, bundle):
    def judge(rows, snapshot, recent):
        assert rows.embeddings.shape == (len(rows), snapshot.description.embedding_dim)
        return [Judgement(label != 0, "not red" if label else "") for label in rows.labels.tolist()]

    async with running(tmp_path / "store", bundle, judge) as run:
        receipt = await run.store.add([*new("red"), *new("blue", 3)], "one", ANNA)
        assert receipt.states == (State.SERVED, *[State.QUARANTINED] * 3)
        assert run.ids()[-1] == 60
        waiting = await run.store.list(state=State.QUARANTINED)
        assert [(each.id, each.reason) for each in waiting] == [(61, "not red"), (62, "not red"), (63, "not red")]
        await run.store.approve([62], "two", ANNA)
        await run.store.drop([63], "three", ANNA)
        assert 62 in run.ids()
        assert (await run.store.get(63)).state == State.DELETED
        with pytest.raises(UnknownExemplarError, match="quarantine"):
            await run.store.approve([60], "four", ANNA)
        # One that is relabelled goes there too, also one of the bundle, and comes back under its new label.
        receipt = await run.store.relabel({0: "blue", 60: "blue"}, "five", ANNA)
        assert receipt.states == (State.QUARANTINED,) * 2
        assert not {0, 60} & set(run.ids())
        await run.store.approve([0], "six", ANNA)
        assert run.label_of(0) == "blue"
        assert run.metric("holdfast_store_quarantined_exemplars") == 2
        ids = run.ids()
    async with running(tmp_path / "store", bundle) as run:
        assert run.ids() == ids
        assert run.label_of(0) == "blue"
        await run.store.approve([60, 61], "seven", ANNA)
        assert {60, 61} <= set(run.ids())
        assert same_as_anew(run.model)


async def test_what_there_is_can_be_listed(tmp_path, bundle):
    async with running(tmp_path / "store", bundle, keep_images=True) as run:
        added = new("red", 2, image=b"as sent")
        await run.store.add(added, "one", ANNA)
        await run.store.relabel({3: "blue"}, "two", Author("berta"))
        await run.store.delete([4], "three", ANNA)
        everything = await run.store.list(limit=1000)
        assert [each.id for each in everything] == [i for i in range(62) if i != 4]
        pages = [await run.store.list(after_id=after, limit=25) for after in (-1, 25, 50)]
        assert [each for page in pages for each in page] == everything
        blue = await run.store.list(label="blue", limit=1000)
        assert [each.id for each in blue] == [3, *range(40, 60)]
        assert (blue[0].author, blue[0].revision, blue[0].source) == ("berta", 2, "tiny/3")
        assert [each.id for each in await run.store.list(state=State.DELETED)] == [4]
        red = (await run.store.list(label="red", after_id=59))[0]
        assert (red.source, red.label, red.state, red.author, red.revision) == ("camera/0/0", "red", State.SERVED, "anna", 1)
        assert red.time > 0
        picture = await run.store.thumbnail(60)
        assert picture is not None
        assert picture.startswith(b"\x89PNG")
        assert await run.store.thumbnail(0) is None
        with pytest.raises(UnknownExemplarError):
            await run.store.thumbnail(99)
        with pytest.raises(UnknownLabelError, match="purple"):
            await run.store.list(label="purple")
        assert run.model.sources.of(np.array([60, 0, 99])) == ["camera/0/0", "tiny/0", ""]


async def test_what_cannot_be_done_is_refused_as_a_whole(tmp_path, bundle):
    async with running(tmp_path / "store", bundle) as run:
        before = run.model
        with pytest.raises(UnknownExemplarError, match="99"):
            await run.store.delete([1, 99], "one", ANNA)
        with pytest.raises(UnknownExemplarError, match="99"):
            await run.store.relabel({99: "red"}, "two", ANNA)
        for call in (
            lambda: run.store.add([], "three", ANNA),
            lambda: run.store.add(new("red", label=" "), "four", ANNA),
            lambda: run.store.add(new("red"), "", ANNA),
            lambda: run.store.delete([1, 1], "five", ANNA),
        ):
            with pytest.raises(InvalidChangeError):
                await call()
        assert run.model is before
        await run.store.delete([1], "six", ANNA)
        with pytest.raises(UnknownExemplarError, match="deleted"):
            await run.store.delete([1], "seven", ANNA)


async def test_limits(tmp_path, bundle):
    limits = StoreLimits(rows=63, classes=4)
    async with running(tmp_path / "store", bundle, limits=limits) as run:
        await run.store.add(new("red", 2, label="pink"), "one", ANNA)
        with pytest.raises(StoreLimitError, match="--store-rows"):
            await run.store.add(new("red", 2), "two", ANNA)
        with pytest.raises(StoreLimitError, match="--store-classes"):
            await run.store.add(new("red", label="rose"), "three", ANNA)
        await run.store.delete([60], "four", ANNA)
        await run.store.add(new("red", 2), "five", ANNA)
        assert run.metric("holdfast_store_refused_total", error="StoreLimitError") == 2


def test_who_changes_too_much_is_told_to_wait():
    now = 0.0
    rate = RateLimit(10.0, clock=lambda: now)
    rate.take("anna", 95)
    with pytest.raises(StoreLimitError) as refused:
        rate.take("anna", 10)
    assert refused.value.retry_after == pytest.approx(0.5)
    rate.take("berta", 10)
    now = 0.6
    rate.take("anna", 10)
    now = 1000.0
    rate.take("anna", 5000)  # larger than any bucket: it pays afterwards
    with pytest.raises(StoreLimitError):
        rate.take("anna", 1)


async def test_one_server_at_a_time_has_a_store_open(tmp_path, bundle):
    async with running(tmp_path / "store", bundle):
        with pytest.raises(StoreLockedError, match="process"):
            opened(tmp_path / "store", bundle)
        code = """
            import sys
            from pathlib import Path
            from holdfast.server.store.journal.journal import ChangeJournal
            ChangeJournal.open(Path(sys.argv[1]))
        """
        command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "store")]
        other = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert "StoreLockedError" in other.stderr
    store, _ = opened(tmp_path / "store", bundle)
    await store.stop()


async def test_a_store_of_another_bundle_is_refused(tmp_path, bundle):
    async with running(tmp_path / "store", bundle) as run:
        await run.store.add(new("red"), "one", ANNA)
    other = write_coloured_bundle(tmp_path / "other", per_class=10)
    with pytest.raises(JournalMismatchError, match="another index"):
        opened(tmp_path / "store", other)
    async with running(tmp_path / "store", bundle) as run:
        assert 60 in run.ids()


async def test_a_changed_byte_is_found(tmp_path, bundle):
    async with running(tmp_path / "store", bundle) as run:
        await run.store.add(new("red", 3), "one", ANNA)
    database = sqlite3.connect(tmp_path / "store" / FILE)
    (vector,) = database.execute("SELECT vector FROM embeddings WHERE id = 61").fetchone()
    changed = bytes([vector[0] ^ 1]) + vector[1:]
    database.execute("UPDATE embeddings SET vector = ? WHERE id = 61", (changed,))
    database.commit()
    database.close()
    with pytest.raises(JournalDamagedError, match="61"):
        opened(tmp_path / "store", bundle)


@pytest.mark.parametrize("damage", ["no database", "page"])
async def test_a_damaged_journal_is_refused(tmp_path, bundle, damage):
    async with running(tmp_path / "store", bundle) as run:
        await run.store.add(new("red", 30), "one", ANNA)
    path = tmp_path / "store" / FILE
    content = bytearray(path.read_bytes())
    if damage == "page":
        content[4096:] = b"\xff" * (len(content) - 4096)
    else:
        content[:] = b"not a database at all" * 400
    path.write_bytes(content)
    with pytest.raises(JournalDamagedError, match="journal"):
        opened(tmp_path / "store", bundle)


async def test_a_half_written_tail_is_left_out(tmp_path, bundle):
    store, holder = opened(tmp_path / "store", bundle)
    from prometheus_client import CollectorRegistry

    store.start(holder, CollectorRegistry())
    await store.add(new("red", 3), "one", ANNA)
    journal, tail = (tmp_path / "store" / f"{FILE}{end}" for end in ("", "-wal"))
    kept = journal.read_bytes(), tail.read_bytes()  # as a power cut would leave them
    await store.stop()
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / FILE).write_bytes(kept[0])
    frame = kept[1][-4120:]  # the last frame again, without a commit of its own, and cut short
    (torn / f"{FILE}-wal").write_bytes(kept[1] + frame[:2000])
    async with running(torn, bundle) as run:
        assert {60, 61, 62} <= set(run.ids())
        await run.store.add(new("red"), "two", ANNA)
        assert 63 in run.ids()


async def test_many_authors_at_once_lose_nothing(tmp_path, bundle):
    async with running(tmp_path / "store", bundle) as run:
        calls = [run.store.add(new("red", 2, seed=i), f"request {i}", Author(f"author {i % 3}")) for i in range(60)]
        receipts = await asyncio.gather(*calls)
        ids = [each for receipt in receipts for each in receipt.ids]
        assert sorted(ids) == list(range(60, 180))
        assert len({receipt.sequence for receipt in receipts}) == 60
        assert set(ids) <= set(run.ids())
        assert run.metric("holdfast_store_commit_seconds_count") <= 60
        assert same_as_anew(run.model)


@pytest.mark.parametrize("kind", ["ivf", "sealed"])
async def test_over_other_kinds_of_index(tmp_path, kind, monkeypatch):
    register(monkeypatch)
    bundle = write_coloured_bundle(tmp_path / "bundle", kind=kind, per_class=40)
    async with running(tmp_path / "store", bundle) as run:
        receipt = await run.store.add(new("red", 3, label="rose"), "one", ANNA)
        await run.store.relabel({1: "rose"}, "two", ANNA)
        await run.store.delete([0, receipt.ids[0]], "three", ANNA)
        described = run.model.description
        assert described.exemplars == 121
        found = run.model.classifier.classify(coloured(0, 6, seed=3)).neighbours.ids
        assert not np.isin(found, [0, receipt.ids[0]]).any()
    async with running(tmp_path / "store", bundle) as run:
        assert run.model.description.exemplars == 121
