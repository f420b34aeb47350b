"""Sets that come in chunks: which rows each chunk has, which rows are seen again, and images that came in without labels."""

from holdfast.data.streams.chunks import Order, StreamConfig, chunks_of, distant_groups, in_styles, random_groups
from holdfast.data.streams.reservoir import replayed, reservoir
from holdfast.data.streams.styles import STYLES, styled

__all__ = [
    "STYLES",
    "Order",
    "StreamConfig",
    "chunks_of",
    "distant_groups",
    "in_styles",
    "random_groups",
    "replayed",
    "reservoir",
    "styled",
]
