"""How many embeddings are worked on at once, and how many are handed out."""

from holdfast.errors import BundleError

BLOCK = 65_536
"""Rows that are worked on at once: 32 MB of 128 float32 numbers."""

EXPORT_BYTES = 4 * 2**30
"""The most that `export` makes of an index, in float32: 8 million rows of 128."""


def refuse_large_export(size: int, dim: int) -> None:
    """Refuse to make float32 [size, dim] of an index. Raises BundleError where that is more than EXPORT_BYTES."""
    if (wanted := 4 * size * dim) > EXPORT_BYTES:
        raise BundleError(
            f"all {size:,} embeddings would take {wanted / 2**30:.1f} GiB of memory, more than the"
            f" {EXPORT_BYTES / 2**30:.0f} GiB that are handed out at once: build a smaller index for what needs all of"
            " them, such as an evaluation"
        )
