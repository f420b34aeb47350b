"""Named tensors and a header in one safetensors file, or in that file and parts of a bounded size beside it.

A crash leaves either all of the old content or all of the new: parts are written first, each under the hash of what it holds,
so none overwrites another; then the one file that names them is replaced; then parts that it does not name are removed.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor

from holdfast.files import replace_atomically, sha256_file, write_atomically

# Upper bounds of a file's own header, in bytes: for each tensor its name, type, shape and place; and once for the file.
TENSOR_HEADER, FILE_HEADER = 200, 64


def write(path: Path, tensors: dict[str, Tensor], header: dict[str, Any], *, part: int = 0) -> None:
    """Write `tensors` and `header`, whole or not at all.

    Args:
        path: the file; parts lie beside it.
        tensors: by name, on any device.
        header: what JSON knows.
        part: bytes of the largest part, at least `holdfast.trainer.config.SMALLEST_PART`; at 0 there is one file.

    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    parts = []
    if part:
        pieces = [piece for name, tensor in tensors.items() for piece in _pieces(name, tensor, part)]
        parts = [_write_part(path.parent, packed) for packed in _packed(pieces, part)]
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()} if part else {}
    with replace_atomically(path) as temporary:
        metadata = {"holdfast": json.dumps(header), "parts": json.dumps(parts), "shapes": json.dumps(shapes)}
        save_file({} if part else tensors, temporary, metadata=metadata)
    for old in path.parent.glob("part-*.safetensors"):
        if old.name not in {record["name"] for record in parts}:
            old.unlink()


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of `path`.

    Raises:
        SafetensorError, KeyError, ValueError: the file is damaged, or no such file; or a part of it is missing or damaged.

    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    parts = json.loads(metadata.get("parts", "[]"))
    if parts:
        tensors = _joined(
            [_read_part(path.parent / record["name"], record) for record in parts], json.loads(metadata["shapes"])
        )
    return json.loads(metadata["holdfast"]), tensors


def size_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of the numbers alone."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _pieces(name: str, tensor: Tensor, part: int) -> Iterator[tuple[str, Tensor]]:
    """A tensor as it is, if a part has room for it; else in flat pieces called <name>@0000 and so on."""
    room = part - FILE_HEADER - TENSOR_HEADER - len(name)
    if size_of([tensor]) <= room:
        yield name, tensor
        return
    flat = tensor.flatten()
    for number, piece in enumerate(torch.split(flat, room // flat.element_size())):
        yield f"{name}@{number:04}", piece.clone()


def _packed(pieces: list[tuple[str, Tensor]], part: int) -> Iterator[dict[str, Tensor]]:
    packed: dict[str, Tensor] = {}
    taken = FILE_HEADER
    for name, piece in pieces:
        size = size_of([piece]) + TENSOR_HEADER + len(name)
        if packed and taken + size > part:
            yield packed
            packed, taken = {}, FILE_HEADER
        packed[name] = piece
        taken += size
    yield packed


def _write_part(folder: Path, tensors: dict[str, Tensor]) -> dict[str, Any]:
    content = save(tensors)
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / f"part-{sha256[:16]}.safetensors"
    # What has not changed since the last time lies there already: a frozen teacher, for instance.
    if not path.is_file() or sha256_file(path) != sha256:
        write_atomically(path, content)
    return {"name": path.name, "bytes": len(content), "sha256": sha256}


def _read_part(path: Path, record: dict[str, Any]) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"its part {path.name} is missing; copy the whole folder")
    content = path.read_bytes()
    if len(content) != record["bytes"]:
        raise ValueError(f"its part {path.name} has {len(content):,} bytes, not {record['bytes']:,}; copy it again")
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise ValueError(f"its part {path.name} is not what was written; copy it again")
    return load(content)


def _joined(parts: list[dict[str, Tensor]], shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    pieces = {name: piece for part in parts for name, piece in part.items()}
    split: dict[str, list[Tensor]] = {}
    for name in sorted(pieces):
        split.setdefault(name.rpartition("@")[0] if name not in shapes else name, []).append(pieces[name])
    found = {}
    for name, shape in shapes.items():
        tensor = torch.cat([piece.flatten() for piece in split[name]])
        if tensor.numel() != math.prod(shape):
            raise ValueError(f"of its tensor {name} there are {tensor.numel():,} numbers, not {math.prod(shape):,}")
        found[name] = tensor.reshape(shape)
    return found
