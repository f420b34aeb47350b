"""Tensors in parts: whole again, never half of two moments, and said so where a part is missing."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from holdfast.trainer.config import SMALLEST_PART
from holdfast.trainer.tensors import tensor_file
from holdfast.trainer.tensors.tensor_file import read, size_of, write

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.bool]


def some(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "large": torch.randn(300, 11, generator=generator),
        "small": torch.randn(3, generator=generator),
        "n": torch.tensor(7),
    }


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


@given(
    shapes=st.lists(st.lists(st.integers(0, 40), max_size=3), min_size=1, max_size=6),
    dtype=st.sampled_from(DTYPES),
    part=st.integers(SMALLEST_PART, 4 * SMALLEST_PART),
    seed=st.integers(0, 999),
)
@settings(max_examples=25)
def test_what_is_written_in_parts_comes_back_and_no_part_is_too_large(tmp_path_factory, shapes, dtype, part, seed) -> None:
    path = tmp_path_factory.mktemp("parts") / "latest.safetensors"
    generator = torch.Generator().manual_seed(seed)
    tensors = {f"t.{i}": torch.randint(0, 2, shape, generator=generator).to(dtype) for i, shape in enumerate(shapes)}
    write(path, tensors, {"a": [1, "b"]}, part=part)
    header, found = read(path)
    assert header == {"a": [1, "b"]}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert bits(found[name]) == bits(tensor)
    parts = list(path.parent.glob("part-*"))
    assert parts
    assert all(each.stat().st_size <= part for each in parts)
    assert sum(each.stat().st_size for each in parts) >= size_of(tensors.values())


def test_one_file_and_parts_replace_each_other_and_leave_nothing_behind(tmp_path) -> None:
    path = tmp_path / "latest.safetensors"
    write(path, some(1), {}, part=SMALLEST_PART)
    first = set(tmp_path.iterdir())
    assert len(first) > 2
    write(path, some(2), {}, part=SMALLEST_PART)
    assert len(set(tmp_path.iterdir()) & first) < len(first)
    assert torch.equal(read(path)[1]["large"], some(2)["large"])
    write(path, some(3), {})
    assert [each.name for each in tmp_path.iterdir()] == ["latest.safetensors"]
    assert torch.equal(read(path)[1]["large"], some(3)["large"])


@pytest.mark.parametrize("before", [0, SMALLEST_PART])
@pytest.mark.parametrize("writes", range(5))
def test_a_crash_at_any_write_leaves_the_old_whole(tmp_path, monkeypatch, before, writes) -> None:
    path = tmp_path / "latest.safetensors"
    write(path, some(1), {"n": 1}, part=before)
    taken = []

    def fail(function):
        def wrapped(*arguments, **named):
            taken.append(1)
            if len(taken) > writes:
                raise OSError("power failure")
            return function(*arguments, **named)

        return wrapped

    monkeypatch.setattr(tensor_file, "write_atomically", fail(tensor_file.write_atomically))
    monkeypatch.setattr(tensor_file, "save_file", fail(tensor_file.save_file))
    with pytest.raises(OSError, match="power failure"):
        write(path, some(2), {"n": 2}, part=SMALLEST_PART)
    header, found = read(path)
    assert header == {"n": 1}
    assert torch.equal(found["large"], some(1)["large"])
    monkeypatch.undo()
    write(path, some(3), {"n": 3}, part=SMALLEST_PART)
    named = {each.name for each in tmp_path.iterdir()}
    write(path, some(3), {"n": 3}, part=SMALLEST_PART)
    assert {each.name for each in tmp_path.iterdir()} == named  # what the crash left has been removed


def test_what_has_not_changed_is_not_written_again(tmp_path, monkeypatch) -> None:
    path = tmp_path / "latest.safetensors"
    write(path, some(1), {"n": 1}, part=SMALLEST_PART)
    monkeypatch.setattr(tensor_file, "write_atomically", lambda *_: pytest.fail("written again"))
    write(path, some(1), {"n": 2}, part=SMALLEST_PART)
    assert read(path)[0] == {"n": 2}


def test_damage_names_the_part(tmp_path: Path) -> None:
    path = tmp_path / "latest.safetensors"
    write(path, some(), {}, part=SMALLEST_PART)
    part = max(tmp_path.glob("part-*"), key=lambda each: each.stat().st_size)
    whole = part.read_bytes()
    for content, said in ((whole[:-1], "bytes, not"), (whole[:-1] + b"?", "not what was written")):
        part.write_bytes(content)
        with pytest.raises(ValueError, match=f"{part.name} .*{said}"):
            read(path)
    part.unlink()
    with pytest.raises(ValueError, match=f"{part.name} is missing"):
        read(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(SafetensorError):
        read(path)
