"""Bundles of whoever wants to harm a server: their hashes fit, and what is hashed does not."""

import hashlib
import io
import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

Damage = Callable[[Path], None]
"""Changes one bundle, before its manifest is made to fit."""


def manifest_of(directory: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((directory / "manifest.json").read_text())
    return values


def write_manifest(directory: Path, values: dict[str, Any]) -> None:
    (directory / "manifest.json").write_text(json.dumps(values))


def fit_hashes(directory: Path) -> None:
    """The manifest says of every file what it is now."""
    values = manifest_of(directory)
    values["files"] = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in values["files"]}
    write_manifest(directory, values)


def hostile(good: Path, directory: Path, damage: Damage) -> Path:
    """A copy that was damaged on purpose."""
    shutil.copytree(good, directory, symlinks=True)
    damage(directory)
    fit_hashes(directory)
    return directory


def column(file: str, name: str, change: Callable[[Any], Any], *, compressed: bool = False) -> Damage:
    """Another array in an .npz file."""

    def damage(directory: Path) -> None:
        with np.load(directory / file) as arrays:
            columns = dict(arrays)
        columns[name] = change(columns[name])
        (np.savez_compressed if compressed else np.savez)(directory / file, **columns)

    return damage


def header(file: str, name: str, shape: str) -> Damage:
    """An array that says it has another shape than it has bytes for."""

    def damage(directory: Path) -> None:
        with zipfile.ZipFile(directory / file) as archive:
            members = {each: archive.read(each) for each in archive.namelist()}
        dtype = np.load(io.BytesIO(members[f"{name}.npy"])).dtype
        text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape}, }}"
        padded = text.ljust(117) + "\n"
        members[f"{name}.npy"] = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode() + bytes(64)
        with zipfile.ZipFile(directory / file, "w") as archive:
            for each, data in members.items():
                archive.writestr(each, data)

    return damage


def bomb(file: str, name: str, megabytes: int) -> Damage:
    """An array of zeros that is a thousand times as large in memory as on disk."""

    def damage(directory: Path) -> None:
        with np.load(directory / file) as arrays:
            columns = dict(arrays)
        dim = columns[name].shape[1]
        columns[name] = np.zeros((megabytes * 2**20 // (4 * dim), dim), dtype=np.float32)
        np.savez_compressed(directory / file, **columns)

    return damage


def number(file: str, offset: int, value: int) -> Damage:
    """Another number of eight bytes, counted from the end where the offset is negative."""

    def damage(directory: Path) -> None:
        data = bytearray((directory / file).read_bytes())
        struct.pack_into("<q", data, offset if offset >= 0 else len(data) + offset, value)
        (directory / file).write_bytes(data)

    return damage


def outside(directory: Path) -> None:
    """A graph whose weights lie in a file of no hash."""
    graph = onnx.load(directory / "encoder.onnx")
    tensor = next(each for each in graph.graph.initializer if len(each.dims) == 2)
    values = onnx.numpy_helper.to_array(tensor)
    (directory / "elsewhere.bin").write_bytes(values.tobytes())
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "elsewhere.bin", "offset": "0", "length": str(values.nbytes)}.items():
        tensor.external_data.add(key=key, value=value)
    (directory / "encoder.onnx").write_bytes(graph.SerializeToString())


def outside_in_a_node(directory: Path) -> None:
    """The same in an attribute of a node, where a graph may hide a tensor as well."""
    graph = onnx.load(directory / "encoder.onnx")
    tensor = TensorProto(dims=[1], data_type=TensorProto.FLOAT, name="hidden", data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secrets.bin")
    graph.graph.node.append(helper.make_node("Constant", [], ["unused"], value=tensor))
    (directory / "encoder.onnx").write_bytes(graph.SerializeToString())
