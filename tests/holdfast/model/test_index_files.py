"""An index is written whole or not at all."""

from pathlib import Path

import numpy as np
import pytest

from holdfast.model.faiss_library import faiss, write_index
from tests.small_disk import PAGE, small_disk

INDEX = faiss.IndexFlatIP(64)
INDEX.add(np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32))
WHOLE = faiss.serialize_index(INDEX).tobytes()


def test_an_index_is_written_as_faiss_does(tmp_path: Path) -> None:
    write_index(INDEX, tmp_path / "index")
    assert (tmp_path / "index").read_bytes() == WHOLE


def test_wherever_the_disk_ends_an_index_is_not_cut_short(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        for room in range(PAGE, len(WHOLE) + 4 * PAGE, PAGE):
            disk.fill(room)
            path = disk.path / "index"
            if room < len(WHOLE):
                with pytest.raises(OSError, match="space"):
                    write_index(INDEX, path)
            path.unlink(missing_ok=True)
        disk.clear()
        write_index(INDEX, path)
        assert path.read_bytes() == WHOLE
