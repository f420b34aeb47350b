"""Bundles that somebody made in order to harm are refused in one line, in little time and little memory."""

import json
import os
import subprocess
import sys
import textwrap
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from holdfast.bundle import Bundle, BundleWriter, read_manifest
from holdfast.errors import BundleError, SchemaMismatchError
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.table import build_retriever, writers_of
from tests.holdfast.bundle import mutated
from tests.holdfast.bundle.hostile import (
    Damage,
    bomb,
    column,
    header,
    hostile,
    manifest_of,
    number,
    outside,
    outside_in_a_node,
    write_manifest,
)
from tests.holdfast.bundle.tiny import DIM, images_of, write_bundle

REPOSITORY = Path(__file__).parents[3]

MEASURE = """
    import resource, sys
    from pathlib import Path
    import holdfast.bundle.reader
    from holdfast.bundle import Bundle
    from holdfast.errors import BundleError
    Bundle.open(Path(sys.argv[1]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, 16 * 2**30))
    for directory in sys.argv[2:]:
        try:
            Bundle.open(Path(directory))
        except BundleError as error:
            print(str(error).count(chr(10)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, directory)
"""
"""Opens bundles in a process of their own: for each that is refused, the breaks in its line, kilobytes so far, its name."""

MOST_KILOBYTES = 200 * 1024

LARGE: dict[str, Damage] = {
    "rows": header("exemplars.npz", "ids", "(1000000000000,)"),
    "mapped": header("exemplars.npz", "source_text", "(1000000000000,)"),
    "overflow": header("exemplars.npz", "labels", "(4611686018427387904, 4)"),
    "negative": header("exemplars.npz", "flags", "(-1, -64)"),
    "bomb": bomb("calibration.npz", "embeddings", 400),
    "vector": number("index.faiss", -8 * (40 + 1), 2**37),
    "inner": number("index.faiss", 8, 2**40),
}

MISFITS: dict[str, Damage] = {
    "labels that are no integers": column("exemplars.npz", "labels", lambda labels: labels.astype(np.float64)),
    "labels of no class": column("exemplars.npz", "labels", lambda labels: labels + 7),
    "labels below 0": column("exemplars.npz", "labels", lambda labels: labels - 1),
    "labels in two columns": column("exemplars.npz", "labels", lambda labels: labels[:, None]),
    "ids twice": column("exemplars.npz", "ids", np.zeros_like),
    "names that overlap": column("exemplars.npz", "source_ends", lambda ends: np.r_[ends[:3][::-1], ends[3:]]),
    "flags of another kind": column("exemplars.npz", "flags", lambda flags: flags.astype("U1")),
    "held-out images of no length": column("calibration.npz", "embeddings", lambda rows: rows * 0),
    "held-out images that are no numbers": column("calibration.npz", "embeddings", lambda rows: rows * np.nan),
    "weights of no hash": outside,
    "weights of no hash in a node": outside_in_a_node,
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(
        tmp_path_factory.mktemp("hostile") / "good", held_out=(images_of(12, seed=9), np.arange(12) % 2), gradient=True
    )


def test_what_promises_more_than_it_holds_takes_no_memory(good: Path, tmp_path: Path) -> None:
    made = [hostile(good, tmp_path / name, damage) for name, damage in LARGE.items()]
    deep, long = (hostile(good, tmp_path / name, lambda _: None) for name in ("deep", "long"))
    (deep / "manifest.json").write_text('{"schema_version": 4, "name": ' + "[" * 200_000 + "]" * 200_000 + "}")
    values = json.dumps(manifest_of(long) | {"class_names": ["x"]})
    (long / "manifest.json").write_text(values.replace('"x"', ", ".join(['"x"'] * 8 * 2**20)))
    directories = [str(each) for each in (*made, deep, long)]
    command = [sys.executable, "-c", textwrap.dedent(MEASURE), str(good), *directories]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert [directory for _, _, directory in lines if "calibration" not in directory] == [
        each for each in directories if not each.endswith("bomb")
    ]
    assert all(breaks == "0" for breaks, _, _ in lines), done.stdout
    assert all(int(kilobytes) < MOST_KILOBYTES for _, kilobytes, _ in lines), done.stdout


@pytest.mark.parametrize("damage", MISFITS)
def test_what_does_not_fit_is_refused(good: Path, tmp_path: Path, damage: str) -> None:
    with pytest.raises(BundleError) as refused:
        _ = Bundle.open(hostile(good, tmp_path / "bad", MISFITS[damage])).calibration_set
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    # faiss builds no cells of what is not a number
    [*product(["flat", "ivf", "hnsw"], [np.inf, 0.0, 1.01, 1e30]), ("flat", np.nan), ("hnsw", np.nan)],
)
def test_exemplars_of_another_length_are_refused(tmp_path: Path, kind: str, wrong: float) -> None:
    directory = write_bundle(tmp_path / "bundle", kind=kind)
    opened = Bundle.open(directory).index.export()
    rows = opened.embeddings.copy()
    rows[17] *= wrong
    writer = BundleWriter.open(directory)
    damaged = build_retriever(kind, Bank(rows.clip(-6e4, 6e4), opened.ids, opened.labels))
    for name, write in writers_of(damaged).items():
        writer.add(name, write)
    writer.commit(read_manifest(directory))
    with pytest.raises(BundleError, match="unit length|do not fit"):
        Bundle.open(directory)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema_version", True),
        ("schema_version", 4.0),
        ("schema_version", "4"),
        ("embedding_dim", True),
        ("embedding_dim", str(DIM)),
        ("surrogate_tau", float("nan")),
        ("surrogate_tau", float("inf")),
        ("vote", {"k": 5.0}),
        ("vote", {"k": 5, "temperature": float("inf"), "weighting": "exponential"}),
        ("class_names", ["dark", "dark"]),
        ("class_names", ["dark", ""]),
        ("class_names", ["dark", 7]),
        ("class_names", "dl"),
        ("class_names", ["dark", None]),
        ("files", {"encoder.onnx": None}),
        ("files", []),
    ],
)
def test_a_manifest_of_other_types_is_refused(good: Path, tmp_path: Path, field: str, value: object) -> None:
    directory = hostile(good, tmp_path / "bad", lambda _: None)
    write_manifest(directory, manifest_of(directory) | {field: value})
    with pytest.raises(SchemaMismatchError) as refused:
        Bundle.open(directory)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["../good/encoder.onnx", "/etc/hostname", "report/../../x", "", ".", "a\0b", "x" * 5000])
def test_a_file_elsewhere_is_refused(good: Path, tmp_path: Path, name: str) -> None:
    directory = hostile(good, tmp_path / "bad", lambda _: None)
    values = manifest_of(directory)
    values["files"][name] = "0" * 64
    write_manifest(directory, values)
    with pytest.raises(BundleError):
        Bundle.open(directory)


def test_a_link_that_leads_out_is_refused_and_one_that_stays_is_not(good: Path, tmp_path: Path) -> None:
    directory = hostile(good, tmp_path / "bad", lambda _: None)
    encoder = directory / "encoder.onnx"
    encoder.rename(directory / "there")
    encoder.symlink_to("there")
    assert Bundle.open(directory).encoder.dim == DIM
    (directory / "there").rename(tmp_path / "outside")
    encoder.unlink()
    encoder.symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match="out of the bundle"):
        Bundle.open(directory)


def test_what_is_no_file_is_refused(good: Path, tmp_path: Path) -> None:
    directory = hostile(good, tmp_path / "bad", lambda _: None)
    (directory / "encoder.onnx").unlink()
    os.mkfifo(directory / "encoder.onnx")  # which nobody ever writes to
    with pytest.raises(BundleError):
        Bundle.open(directory)


def test_whatever_a_byte_becomes_a_bundle_opens_or_is_refused(good: Path) -> None:
    command = [sys.executable, "-m", mutated.__name__, str(good)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr[-4000:]
