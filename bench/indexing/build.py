"""How fast a labelled set becomes an index, and how much memory that takes: images that are made up as they are read.

The set is never in memory and never on disk: each image is one of 4,096 random ones, moved by its number. With --bundle the
encoder is that of a bundle; without it is one product of 128 dimensions, so that a million images show the memory of the rest.
Memory is the peak of this process and, where several embed, so many times that of the largest of them.

    python -m bench.indexing.build [--bundle DIR] [--images 1000000] [--index KIND] [--half] [--processes N] [--json FILE]
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx

from bench import synthetic
from bench.harness.report import Target, run_benchmark, show, write_json
from holdfast.bundle.manifest import IndexedSet, Manifest
from holdfast.bundle.migrations import FLAT
from holdfast.bundle.reader import read_manifest
from holdfast.bundle.writer import BundleWriter
from holdfast.data.sources import ReadImages
from holdfast.data.streamed import StreamedSplits
from holdfast.flags import whole_number
from holdfast.index_build.adapting.adaptation import IndexChanges, NewSet
from holdfast.index_build.adapting.run import SetOptions, adapt_index
from holdfast.index_build.canary import IMAGES
from holdfast.index_build.options import IndexOptions
from holdfast.model.answers import Ints
from holdfast.model.preprocess import InputContract, Pixels

BOUND_MB = 600
TINY_DIM = 128
BASES = 4096


class Numbered(Sequence[str]):
    """Names that are made as they are asked for: "synthetic/17"."""

    def __init__(self, rows: Ints) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> str:  # type: ignore[override]  # slices are not asked for
        return f"synthetic/{self._rows[row]}"


@cache
def base_images(shape: tuple[int, ...]) -> Pixels:
    """What all images are made of: uint8 [BASES, H, W, 3]."""
    return np.random.default_rng(0).integers(0, 256, (BASES, *shape), dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class GeneratedSource:
    """Images by their number: of `classes` classes, each of its own brightness. Attributes as of `LabelledSource`."""

    rows: Ints
    classes: int
    contract: InputContract

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per label."""
        return tuple(f"class {label}" for label in range(self.classes))

    @property
    def labels(self) -> Ints:
        """int64 [N]."""
        return self.rows % self.classes

    @property
    def sources(self) -> Sequence[str]:
        """Where each image comes from."""
        return Numbered(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: Ints) -> ReadImages:
        """Make the images at `rows`."""
        numbers = self.rows[rows]
        moved = (numbers // BASES * 7 + numbers % self.classes * 20).astype(np.uint8)
        return ReadImages(base_images(self.contract.shape)[numbers % BASES] + moved[:, None, None, None], np.asarray(rows), [])

    def select(self, rows: Ints) -> "GeneratedSource":
        """Return the source of these rows alone."""
        return GeneratedSource(self.rows[rows], self.classes, self.contract)


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedSet(SetOptions):
    """A set of so many images, of which 1,000 are held out and 1,000 kept for an evaluation."""

    images: int

    def open(self, contract: InputContract, *, quiet: bool) -> NewSet:  # noqa: ARG002 - as SetOptions
        """The set, split."""
        whole = GeneratedSource(np.arange(self.images), 10, contract)
        train, held, test = (whole.select(part) for part in np.split(whole.rows, [self.images - 2000, self.images - 1000]))
        record = IndexedSet(data="/made/up", sha256="", test_sha256="", test_images=1000, calibration=1000, seed=0)
        return NewSet(StreamedSplits(train, held, test), record)


def write_tiny(directory: Path) -> Path:
    """A bundle without an index, whose encoder is one product."""
    weights = np.random.default_rng(1).standard_normal((synthetic.PIXELS, TINY_DIM)).astype(np.float32)
    writer = BundleWriter.create(directory)
    writer.add("encoder.onnx", lambda path: onnx.save(synthetic.encoder_of(weights - weights.mean(axis=0)), str(path)))
    manifest: Manifest = synthetic.manifest_of(TINY_DIM)
    writer.commit(manifest)
    return directory


def measure(bundle: Path, images: int, options: IndexOptions) -> tuple[float, float]:
    """(seconds, peak resident MB) of an index of so many images."""
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        adapt_index(bundle, Path(place) / "new", GeneratedSet(data="made up", images=images), IndexChanges(k=15), options)
        seconds = time.perf_counter() - began
    return seconds, peak_resident_mb(options.processes)


def peak_resident_mb(processes: int) -> float:
    """Of this process, and of so many children as large as the largest that has ended. Linux gives both in units of 1,024."""
    own, child = (resource.getrusage(whose).ru_maxrss for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (own + processes * child) * 1024 / 1e6


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.indexing.build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, help="whose encoder (default: one product of 128 dimensions)")
    parser.add_argument("--images", type=whole_number(3000), default=1_000_000, help="default: %(default)s")
    parser.add_argument("--index", default=FLAT, metavar="KIND", help="as of holdfast index (default: %(default)s)")
    parser.add_argument("--half", action="store_true", help="as of holdfast index")
    parser.add_argument("--processes", type=whole_number(1), default=1, help="default: %(default)s")
    parser.add_argument("--threads", type=whole_number(1), default=1, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        bundle = options.bundle or write_tiny(Path(place) / "tiny")
        dim = read_manifest(bundle).embedding_dim
        how = IndexOptions(
            kind=options.index,
            half=options.half,
            processes=options.processes,
            threads=options.threads,
            canary=IMAGES,
            command="bench.indexing.build",
        )
        seconds, peak = measure(bundle, options.images, how)
    target = Target("peak resident MB", peak, BOUND_MB, at_least=False)
    rows = [
        ["images", f"{options.images:,}"],
        ["dimensions", str(dim)],
        ["index", options.index],
        ["seconds", f"{seconds:.1f}"],
    ]
    rows += [["images a second, audit included", f"{options.images / seconds:,.0f}"], ["peak resident MB", f"{peak:.0f}"]]
    show("index of a streamed set", ["what", "measured"], rows, target)
    if options.json:
        write_json(options.json, "index_build", {"images": options.images, "seconds": seconds, "peak_mb": peak}, target=target)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
