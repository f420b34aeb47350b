"""Exemplars in a real Milvus server: the same answers as from an index in memory, several servers, and its outages."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from holdfast.bundle.reader import Bundle
from holdfast.errors import BundleError, ContractMismatchError, HoldfastError, RetrieverUnavailableError
from holdfast.model.retrieval.base import Bank, nearest
from holdfast.model.retrieval.flat import FlatIndex

pytest.importorskip("pymilvus", reason="pip install 'holdfast[milvus]'")

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pymilvus.exceptions import MilvusUnavailableException

from bench.harness.milvus_server import MilvusProcess, running_milvus
from holdfast.model.retrieval.milvus.address import CollectionRecord, SearchOptions, parse_target
from holdfast.model.retrieval.milvus.collection import MilvusCollection
from holdfast.model.retrieval.milvus.index import MilvusIndex
from holdfast.protos.holdfast.v1 import holdfast_pb2
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.store.errors import StoreLockedError
from holdfast.server.store.following import SharedFollower
from holdfast.server.store.records import NewExemplar
from tests.server.running import NOT_SERVING, LoopThread, Served, refusal, start, wait_for
from tests.server.store.stores import ANNA, opened, running
from tests.server.tiny import COLOURS, coloured, raw, write_bundle

K = 5
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusProcess]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_milvus(tmp_path_factory.mktemp("milvus")))
        except HoldfastError as error:
            pytest.skip(str(error))
        yield server


@pytest.fixture(scope="module")
def bank() -> Bank:
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(3000, 16)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    embeddings[100:104] = embeddings[99]  # equals, which have to come in the order of their ids
    return Bank(embeddings, np.arange(3000) * 3 + 5, random.integers(0, 4, 3000))


def built(milvus: MilvusProcess, bank: Bank, options: str) -> MilvusIndex:
    return MilvusIndex.build(bank, address=f"milvus://{milvus.address}?{options}")


def labels_there(collection: MilvusCollection, ids: list[int]) -> dict[int, int]:
    """Label by id of those ids that the collection holds, by a read that sees every write before it."""
    name = collection.record.collection
    rows = collection.client.get(name, ids=ids, output_fields=["label"], consistency_level="Strong", timeout=30)
    return {int(row["id"]): int(row["label"]) for row in rows}


@dataclass(frozen=True)
class Made:
    """Collections, and bundles that have one: made side by side, as each takes seconds in which Milvus waits for itself.

    Attributes:
        index: tests may add to it, above id 100,000.
        rounded: one of int8.
        remote: the last test that has it changes it for good.
        hasty: waits a second for an answer at most.

    """

    index: MilvusIndex
    rounded: MilvusIndex
    remote: Path
    hasty: Path


@pytest.fixture(scope="module")
def made(milvus: MilvusProcess, bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("bundles")

    def bundle(name: str, timeout: int) -> Path:
        write_bundle(folder / name, kind=f"milvus://{milvus.address}?index=flat&timeout={timeout}")
        return folder / name

    with ThreadPoolExecutor(4) as pool:
        index = pool.submit(built, milvus, bank, "index=ivf&nlist=16&nprobe=16&timeout=20")
        rounded = pool.submit(built, milvus, bank, "index=ivf_sq8&nlist=16&nprobe=16&refine=8&timeout=20")
        remote, hasty = pool.submit(bundle, "remote", 20), pool.submit(bundle, "hasty", 1)
    return Made(index.result(), rounded.result(), remote.result(), hasty.result())


@pytest.fixture(scope="module")
def index(made: Made) -> MilvusIndex:
    return made.index


@pytest.fixture(scope="module")
def remote(made: Made) -> Path:
    return made.remote


@pytest.mark.parametrize("which", ["index", "rounded"])
def test_it_finds_what_an_index_in_memory_finds(made: Made, bank: Bank, which: str, tmp_path: Path) -> None:
    index: MilvusIndex = getattr(made, which)
    (write,) = index.writers()
    write(tmp_path / "index.milvus.json")
    opened = MilvusIndex.load(tmp_path / "index.milvus.json", bank.ids, bank.labels)
    queries = bank.embeddings[90:110]
    found, wanted = nearest(opened, queries, K), nearest(FlatIndex.build(bank), queries, K)
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_array_equal(found.labels, wanted.labels)
    np.testing.assert_allclose(found.similarities, wanted.similarities, atol=2e-5)
    assert (opened.size, opened.dim) == (3000, 16)


def test_a_collection_that_was_dropped_is_missed(made: Made) -> None:
    made.rounded.collection.drop()
    with pytest.raises(BundleError, match="is not there"):
        MilvusCollection.open(made.rounded.collection.record)


def test_fewer_exemplars_than_neighbours_are_padded(remote: Path) -> None:
    bundle = Bundle.open(remote)
    size = bundle.index.size
    found = bundle.index.search(bundle.encoder.embed(coloured(0, 2, seed=5)), size + 2)
    assert (found.ids[:, size:] == -1).all()
    assert np.isneginf(found.similarities[:, size:]).all()
    assert found.ids[:, :size].min() >= 0
    assert len(set(found.ids[0, :size].tolist())) == size


def test_changed_rows_are_found_by_every_reader(bank: Bank, index: MilvusIndex) -> None:
    reader = MilvusIndex(MilvusCollection.open(index.collection.record), len(bank.ids))
    new = np.eye(16, dtype=np.float32)[:2]
    index.collection.upsert(new, np.array([100_001, 100_002]), np.array([3, 2]))
    index.collection.upsert(new[:1], np.array([100_001]), np.array([1]))
    assert labels_there(index.collection, [100_001, 100_002, 100_003]) == {100_001: 1, 100_002: 2}
    index.collection.delete(np.array([100_002, 100_003]))
    assert labels_there(index.collection, [100_001, 100_002]) == {100_001: 1}
    give_up = time.monotonic() + 60
    while reader.search(new, 1).ids[:, 0].tolist() != [100_001, nearest(index, new[1:], 1).ids[0, 0]]:
        assert time.monotonic() < give_up, "a reader never saw what was written"
        time.sleep(0.1)
    assert reader.search(new, 1).labels[0, 0] == 1
    assert reader.collection.rows() == 3001
    index.collection.delete(np.array([100_001]))
    assert index.collection.rows() == 3000


def test_a_collection_of_another_dimension_is_refused(index: MilvusIndex) -> None:
    with pytest.raises(ContractMismatchError, match="16 dimensions"):
        MilvusCollection.open(index.collection.record.model_copy(update={"dim": 32}))


@pytest.mark.parametrize(
    ("address", "sign"),
    [
        ("milvus://", "no address"),
        ("http://127.0.0.1", "no address"),
        ("milvus://a:b@127.0.0.1", "MILVUS_TOKEN"),
        ("milvus://127.0.0.1?nprobe=0", "nprobe"),
        ("milvus://127.0.0.1?colour=red", "colour"),
        ("milvus://127.0.0.1?nprobe", "name=value"),
        ("milvus://127.0.0.1:99999", "no address"),
    ],
)
def test_an_address_that_will_not_do(address: str, sign: str) -> None:
    with pytest.raises(BundleError, match=sign):
        parse_target(address)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    record = CollectionRecord(address="http://127.0.0.1:9", collection="none", dim=4)
    record.write(tmp_path / "index.milvus.json")
    with pytest.raises(RetrieverUnavailableError, match="127.0.0.1:9"):
        MilvusIndex.load(tmp_path / "index.milvus.json", np.arange(3), np.arange(3))


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        pytest.param(MilvusProcess.pause, MilvusProcess.resume, id="silent"),
        pytest.param(MilvusProcess.stop, MilvusProcess.start, id="killed", marks=pytest.mark.slow),
    ],
)
def test_an_outage_is_an_error_in_time_and_ends_by_itself(
    milvus: MilvusProcess,
    bank: Bank,
    index: MilvusIndex,
    begin: Callable[[MilvusProcess], None],
    end: Callable[[MilvusProcess], None],
) -> None:
    record = index.collection.record
    hasty = record.model_copy(update={"options": record.options.model_copy(update={"timeout": 1.0})})
    queries = bank.embeddings[:2]
    wanted = index.search(queries, K).ids
    reader = MilvusIndex(MilvusCollection.open(hasty), len(bank.ids))
    begin(milvus)
    try:
        for _ in range(3):
            with pytest.raises(RetrieverUnavailableError):
                reader.search(queries, K)
    finally:
        end(milvus)
    give_up = time.monotonic() + 90
    while True:
        try:
            np.testing.assert_array_equal(reader.search(queries, K).ids, wanted)
            break
        except RetrieverUnavailableError:
            assert time.monotonic() < give_up, "the outage never ended"
            time.sleep(0.1)


class SilentClient:
    """A client of a server that answers no search at first. The second search waits, and is answered as all after it are."""

    def __init__(self) -> None:
        self.asked, self.second, self.go = 0, threading.Event(), threading.Event()

    def search(self, *_: Any, data: list[Any], **__: Any) -> list[Any]:
        self.asked += 1
        if self.asked == 1:
            raise MilvusUnavailableException
        if self.asked == 2:
            self.second.set()
            assert self.go.wait(30)
        return [NoHits() for _ in data]

    def load_collection(self, *_: Any, **__: Any) -> None:
        pass


class NoHits(list[Any]):
    ids: ClassVar[list[int]] = []
    distances: ClassVar[list[float]] = []


def test_an_outage_is_known_to_every_view_of_a_collection() -> None:
    client = SilentClient()
    record = CollectionRecord(address="http://127.0.0.1:9", collection="c", dim=4, options=SearchOptions(timeout=60))
    index = MilvusIndex(MilvusCollection(client, record), 3)
    views, queries = [index, index.up_to(2), index.sized(3, 2)], np.eye(4, dtype=np.float32)[:1]
    with pytest.raises(RetrieverUnavailableError):
        index.search(queries, 1)

    def try_again() -> None:
        while not client.second.is_set():
            with suppress(RetrieverUnavailableError):
                views[1].search(queries, 1)

    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(try_again)
        assert client.second.wait(30)
        for view in views:  # none of them waits for the timeout too
            with pytest.raises(RetrieverUnavailableError):
                view.search(queries, 1)
        assert client.asked == 2
        client.go.set()
        trying.result(30)
    for view in views:
        assert view.search(queries, 1).ids.tolist() == [[-1]]


def test_two_servers_answer_from_one_collection(
    milvus: MilvusProcess, made: Made, loop_thread: LoopThread, tmp_path: Path
) -> None:
    """Both answer as an index in memory does; an outage is UNAVAILABLE in time, shows in health, and ends by itself."""
    write_bundle(tmp_path / "flat")
    images = [coloured(label, 1, seed=50 + label)[0] for label in range(3)]
    request = holdfast_pb2.ClassifyRequest(images=[raw(image) for image in images], neighbours=K)
    expected = Bundle.open(tmp_path / "flat").classifier().classify(np.stack(images))
    with ExitStack() as stack:
        servers = [start(stack, loop_thread, made.hasty, canary_interval=0.1) for _ in range(2)]
        for served in servers:
            answers = [result.answer for result in served.stub.Classify(request, timeout=30).results]
            assert [answer.label.name for answer in answers] == list(COLOURS)
            assert [[n.id for n in answer.neighbours] for answer in answers] == expected.neighbours.ids.tolist()
            np.testing.assert_allclose([answer.credibility for answer in answers], expected.credibility)
        milvus.pause()
        try:
            for served in servers:
                for timeout in (30, 1):  # once it is known, it is said at once
                    call = partial(served.stub.Classify, request, timeout=timeout)
                    assert refusal(call).code() == grpc.StatusCode.UNAVAILABLE
                wait_for(partial(_health_is, served, NOT_SERVING))
        finally:
            milvus.resume()
        for served in servers:
            wait_for(partial(_health_is, served, SERVING), seconds=60)
            assert len(served.stub.Classify(request, timeout=30).results) == 3


def test_a_class_that_is_not_known_yet_does_not_vote(remote: Path) -> None:
    bundle = Bundle.open(remote)
    images, none = coloured(0, 2, seed=5), np.empty(0, np.int64)
    new, ids = bundle.encoder.embed(images), np.array([500, 501])
    bundle.index.write(Bank(new, ids, np.array([3, 3])), none)  # type: ignore[attr-defined]
    wait_for(lambda: bundle.index.up_to(1000).search(new, 1).ids[0, 0] == 500, 60)  # type: ignore[attr-defined]
    answers = bundle.classifier().classify(images)
    assert answers.labels.tolist() == [0, 0]
    assert not (answers.neighbours.labels >= 3).any()
    bundle.index.write(Bank(new[:0], none, none), ids)  # type: ignore[attr-defined]


async def test_one_server_writes_and_others_follow(remote: Path, tmp_path: Path) -> None:
    """What a store acknowledges is in its own answers at once, survives, and is in every other server's soon."""
    yellow = np.full((6, 16, 16, 3), 255, dtype=np.uint8)
    yellow[:, :, :, 2] = 0
    reader = ModelHolder(ModelSnapshot.of(Bundle.open(remote), 1, "v1@0"))
    follower = SharedFollower(reader, every=0.1)
    follower.start()
    try:
        async with running(tmp_path / "store", remote) as run:
            with pytest.raises(StoreLockedError, match="writes to"):
                await asyncio.to_thread(opened, tmp_path / "another store", remote)
            await run.store.add([NewExemplar(each, "yellow") for each in yellow], "one", ANNA)
            assert run.model.classifier.classify(yellow[:1]).labels.tolist() == [3]
            await run.store.relabel({7: "yellow"}, "two", ANNA)
            await run.store.delete([3], "three", ANNA)
            written = run.model.classifier.classify(yellow[:1]).neighbours
            described = lambda: reader.current.description  # noqa: E731
            await asyncio.to_thread(wait_for, lambda: (described().exemplars_revision, described().exemplars) == (3, 65), 60)
        assert described().class_names == (*COLOURS, "yellow")

        def follows() -> bool:
            answers = reader.current.classifier.classify(yellow[:1])
            return answers.labels.tolist() == [3] and answers.neighbours.ids.tolist() == written.ids.tolist()

        await asyncio.to_thread(wait_for, follows, 60)
        collection = Bundle.open(remote).index.collection  # type: ignore[attr-defined]
        assert labels_there(collection, [3, 7, 65]) == {7: 3, 65: 3}
        async with running(tmp_path / "store", remote) as run:
            again = run.model.classifier.classify(yellow[:1])
            assert again.labels.tolist() == [3]
            assert again.neighbours.ids.tolist() == written.ids.tolist()
            assert run.model.description.exemplars == 65
    finally:
        await asyncio.to_thread(follower.stop)


def _health_is(served: Served, status: int) -> bool:
    return health_pb2_grpc.HealthStub(served.channel).Check(health_pb2.HealthCheckRequest(), timeout=10).status == status
