import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.server.api.open_inference.tensors import InputTensor, OutputTensor, count_of, join_bytes, split_bytes, to_bytes
from holdfast.server.core.errors import RequestError


def tensor(values: bytes | list[bytes], *shape: int) -> InputTensor:
    return InputTensor("inputs[0]", "image", "BYTES", shape, values)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_elements_come_back_as_they_went(elements: list[bytes]) -> None:
    raw = join_bytes(elements)
    assert len(raw) == sum(map(len, elements)) + 4 * len(elements)
    assert split_bytes(tensor(raw, len(elements)), len(elements)) == elements
    assert split_bytes(tensor(elements, len(elements)), len(elements)) == elements


@given(st.binary(max_size=64), st.integers(0, 8))
def test_bytes_are_so_many_whole_elements_or_refused(raw: bytes, count: int) -> None:
    try:
        elements = split_bytes(tensor(raw, count), count)
    except RequestError as error:
        assert error.field == "inputs[0]"
    else:
        assert join_bytes(elements) == raw
        assert len(elements) == count


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4), st.integers(1, 2**31))
def test_a_last_length_that_lies_is_found(elements: list[bytes], more: int) -> None:
    raw = bytearray(join_bytes(elements))
    struct.pack_into("<I", raw, len(raw) - len(elements[-1]) - 4, len(elements[-1]) + more)
    with pytest.raises(RequestError):
        split_bytes(tensor(bytes(raw), len(elements)), len(elements))


@given(st.lists(st.integers(-3, 10**9), max_size=8))
def test_a_shape_counts_its_elements(shape: list[int]) -> None:
    if min(shape, default=0) < 0:
        with pytest.raises(RequestError):
            count_of(tensor(b"", *shape))
    else:
        assert count_of(tensor(b"", *shape)) == int(np.prod(np.array(shape, dtype=object)))


def test_a_million_sides_are_refused_at_once() -> None:
    with pytest.raises(RequestError):
        count_of(tensor(b"", *[2**62] * 1_000_000))


def test_values_lie_in_order_whatever_their_array_does() -> None:
    values = np.arange(6, dtype=">f8").reshape(2, 3).T
    assert to_bytes(OutputTensor("t", "FP32", (3, 2), values)) == np.array([0, 3, 1, 4, 2, 5], "<f4").tobytes()
