"""Stores over small real bundles, for tests."""

import asyncio
import time
from contextlib import asynccontextmanager

import numpy as np
from prometheus_client import CollectorRegistry

from holdfast.bundle.reader import Bundle
from holdfast.model.retrieval.base import Bank, bank_of
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.store.options import StoreOptions
from holdfast.server.store.records import Author, NewExemplar, pass_all
from holdfast.server.store.store import ExemplarStore
from tests.bundles import coloured

ANNA = Author("anna")
COLOURS = ("red", "green", "blue")


class Running:
    """A store, the holder it publishes to, and what it counts."""

    def __init__(self, store, holder, registry):
        self.store, self.holder, self.registry = store, holder, registry

    @property
    def model(self):
        return self.holder.current

    def metric(self, name, **labels):
        return self.registry.get_sample_value(name, labels)

    def ids(self):
        return sorted(bank_of(self.model.classifier.retriever).ids.tolist())

    def label_of(self, exemplar_id):
        bank = bank_of(self.model.classifier.retriever)
        return self.model.description.class_names[int(bank.labels[bank.ids == exemplar_id][0])]


def opened(directory, bundle_directory, **options):
    bundle = Bundle.open(bundle_directory)
    first = ModelSnapshot.of(bundle, 1, "v1@0")
    store = ExemplarStore.open(StoreOptions(directory, **options), bundle, first)
    return store, ModelHolder(store.placed_in(first))


@asynccontextmanager
async def running(directory, bundle_directory, judge=pass_all, **options):
    store, holder = await asyncio.to_thread(opened, directory, bundle_directory, **options)
    registry = CollectorRegistry()
    store.start(holder, registry, judge)
    try:
        yield Running(store, holder, registry)
    finally:
        await store.stop()


def new(colour, count=1, seed=0, label=None, **fields):
    """Exemplars of a colour, of the class of that name unless another is given."""
    pixels = coloured(COLOURS.index(colour), count, seed=seed)
    return [NewExemplar(each, label or colour, f"camera/{seed}/{i}", **fields) for i, each in enumerate(pixels)]


def same_as_anew(model):
    """Whether the served index answers as one built anew from what it holds."""
    index = model.classifier.retriever
    bank = bank_of(index)
    anew = FlatIndex.build(Bank(bank.embeddings, bank.ids, bank.labels))
    queries = bank.embeddings[:: max(1, len(bank.ids) // 20)]
    ours, theirs = index.search(queries, 5), anew.search(queries, 5)
    return np.allclose(ours.similarities, theirs.similarities, atol=1e-5)


async def until(condition):
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, "it did not come to pass"
        await asyncio.sleep(0.01)
