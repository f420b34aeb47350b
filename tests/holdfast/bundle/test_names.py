"""The names of holdfast.bundle, which are loaded when they are first asked for."""

import subprocess
import sys

import pytest

from holdfast import bundle


def test_every_name_is_there() -> None:
    for name in bundle.__all__:
        assert getattr(bundle, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = bundle.no_such_name


def test_who_needs_the_decoding_alone_loads_neither_faiss_nor_onnxruntime() -> None:
    code = "import sys; from holdfast.bundle import decode_image; print(*({'faiss', 'onnxruntime'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == ""
