"""The kinds of index that there are. A new one is a file that keeps `Retriever`, and a line here."""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from holdfast.errors import BundleError, install_command
from holdfast.model.answers import Ints
from holdfast.model.retrieval.base import Retriever
from holdfast.model.retrieval.embeddings import ReadableBank
from holdfast.model.retrieval.unit_length import refuse_other_lengths

if TYPE_CHECKING:
    from holdfast.model.encoder.device import Device

log = logging.getLogger(__name__)

Parameters = Mapping[str, int | float | str]
"""Of a kind of index, as the manifest records them: how many cells are probed, for instance."""

FileWriter = Callable[[Path], object]
"""Writes one file at a path."""


class StoredRetriever(Retriever, Protocol):
    """A retriever that the index builder has just built, and that can be written."""

    def writers(self) -> tuple[FileWriter, ...]:
        """What writes each file of its kind, in the order of `RetrieverKind.files`."""

    @property
    def parameters(self) -> Parameters:
        """What `load` has to be told beside the files; empty for most."""


@runtime_checkable
class Discardable(Protocol):
    """A retriever that has left more behind than memory when it was built, on another machine for instance."""

    def discard(self) -> None:
        """Take that back: no bundle names it."""


@contextmanager
def discarded_on_failure(index: StoredRetriever) -> Iterator[None]:
    """What an index has left elsewhere is taken back where this block fails, before a bundle names it."""
    try:
        yield
    except BaseException:
        if isinstance(index, Discardable):
            try:
                index.discard()
            except Exception as error:  # noqa: BLE001 - the first error is the one to tell
                log.warning("%s is left behind: %s", index, error)
        raise


@dataclass(frozen=True, slots=True)
class RetrieverKind:
    """One kind of index: where its code is, imported when it is first asked for.

    Attributes:
        implementation: "module:Class". The class has `build(bank) -> StoredRetriever` for the index builder, and
            `load(*paths, ids, labels, **parameters) -> Retriever`: its files, in the order of `files`; what the exemplars'
            table says that they hold, int64 [M] each; and what `parameters` of the one that was built said.
        files: its files in a bundle. Every one of them is hashed by the manifest.
        extra: of `pip install 'holdfast[...]'`, what has to be installed for it.
        built_on_disk: "module:Class" of an index of a bank whose embeddings stay in a file, with the same `build`, files and
            neighbours; "" where the implementation reads them a block at a time itself.
        on_gpu: "module:Class" over a loaded one, for encoders that run on a GPU; "" where the index stays where it is.
        exact: whether it finds all of the k nearest, or else is not to be served.
        rounds: whether `build` takes `half=True`, which rounds embeddings to float16; others do so always, or never.
        remote: whether it lies on another machine. Its name for the index builder is then an address, "KIND://...", which its
            `build` takes as `address` and its `check_address` looks at beforehand.

    """

    implementation: str
    files: tuple[str, ...]
    extra: str
    built_on_disk: str = ""
    on_gpu: str = ""
    exact: bool = False
    rounds: bool = False
    remote: bool = False


RETRIEVERS: dict[str, RetrieverKind] = {
    "flat": RetrieverKind(
        "holdfast.model.retrieval.flat:FlatIndex",
        files=("index.faiss",),
        extra="serve",
        built_on_disk="holdfast.model.retrieval.flat_on_disk:FlatIndexOnDisk",
        on_gpu="holdfast.model.retrieval.flat_gpu:GpuFlatIndex",
        exact=True,
        rounds=True,
    ),
    "ivf": RetrieverKind(
        "holdfast.model.retrieval.approximate.ivf:IvfIndex", files=("index.ivf", "index.prototypes.npz"), extra="serve"
    ),
    "hnsw": RetrieverKind(
        "holdfast.model.retrieval.approximate.hnsw:HnswIndex", files=("index.hnsw", "index.prototypes.npz"), extra="serve"
    ),
    "milvus": RetrieverKind(
        "holdfast.model.retrieval.milvus.index:MilvusIndex", files=("index.milvus.json",), extra="milvus", remote=True
    ),
}
"""By the name in the manifest."""


def retriever_kind(name: str) -> RetrieverKind:
    """The kind of that name. Raises BundleError where there is none."""
    if name not in RETRIEVERS:
        raise BundleError(
            f"there is no index of kind {name!r} in this holdfast, which knows {', '.join(sorted(RETRIEVERS))}:"
            " upgrade holdfast, or build the index again with holdfast index"
        )
    return RETRIEVERS[name]


def finds_all(retriever: Retriever) -> bool:
    """Whether it is of a kind that finds all of the k nearest exemplars, and says so here."""
    return retriever.kind in RETRIEVERS and RETRIEVERS[retriever.kind].exact


def build_retriever(name: str, bank: ReadableBank, *, half: bool = False) -> StoredRetriever:
    """Index a bank. With `half`, its embeddings are rounded to float16.

    Args:
        name: a kind, or the address of a remote one: "milvus://HOST:PORT".
        bank: the exemplars.
        half: whether to round.

    Raises:
        BundleError: there is no such kind, its package is not installed, it does not round, or the address will not do.
        RetrieverUnavailableError: a remote one does not answer.

    """
    check_buildable(name, half=half)
    kind, _, address = name.partition("://")
    options: dict[str, object] = {"half": True} if half else {}
    if address:
        options["address"] = name
    in_memory = isinstance(bank.embeddings, np.ndarray)
    implementation = RETRIEVERS[kind].implementation if in_memory else RETRIEVERS[kind].built_on_disk
    built: StoredRetriever = _load(kind, implementation or RETRIEVERS[kind].implementation).build(bank, **options)
    return built


def check_buildable(name: str, *, half: bool = False) -> None:
    """Find out, before anything is embedded, whether such an index can be built. Raises as `build_retriever`."""
    short, _, address = name.partition("://")
    kind = retriever_kind(short)
    if bool(address) != kind.remote:
        example = f"{short}://HOST:PORT" if kind.remote else short
        raise BundleError(f"an index of kind {short!r} is asked for as {example}, not as {name!r}")
    if half and not kind.rounds:
        raise BundleError(f"an index of kind {short!r} keeps embeddings in its own way: leave --half away")
    implementation = _load(short, kind.implementation)
    if address:
        implementation.check_address(name)


def writers_of(index: StoredRetriever) -> dict[str, FileWriter]:
    """What writes each file of an index, by the file's name in a bundle."""
    return dict(zip(retriever_kind(index.kind).files, index.writers(), strict=True))


def open_retriever(
    name: str,
    paths: Sequence[Path],
    ids: Ints,
    labels: Ints,
    device: "Device" = "cpu",
    *,
    parameters: Parameters | None = None,
) -> Retriever:
    """Open an index whose files' hashes have been verified.

    Args:
        name: its kind.
        paths: its files, in the order of `RetrieverKind.files`.
        ids: int64 [M], what the exemplars' table says that it holds, in this order.
        labels: int64 [M], theirs.
        device: where the encoder runs.
        parameters: what the manifest records of it, for kinds that take some.

    Raises:
        BundleError: there is no such kind, its package is not installed, a file is of another kind or holds what is no
            embedding, or it does not take these parameters.
        ContractMismatchError: the index holds other exemplars.
        DeviceError: the GPU does not take it.

    """
    kind = retriever_kind(name)
    implementation = _load(name, kind.implementation)
    try:
        inspect.signature(implementation.load).bind(*paths, ids, labels, **(parameters or {}))
    except TypeError:
        raise BundleError(
            f"an index of kind {name!r} does not take the parameters {dict(parameters or {})} that the manifest records:"
            " upgrade holdfast, or build the index again with holdfast index"
        ) from None
    retriever: Retriever = implementation.load(*paths, ids, labels, **(parameters or {}))
    refuse_other_lengths(retriever, paths[0])
    if device == "cpu" or not kind.on_gpu:
        return retriever
    on_gpu: Callable[[Retriever], Retriever] = _load(name, kind.on_gpu)
    return on_gpu(retriever)


def _load(name: str, path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        raise BundleError(
            f"an index of kind {name!r} needs {error.name or error}, which is not installed:"
            f" {install_command(RETRIEVERS[name].extra)}"
        ) from None
