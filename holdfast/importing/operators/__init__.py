"""The operators of image encoders, in torch: a file a kind, and one table."""

from collections.abc import Callable

from holdfast.importing.graph_builder import Value
from holdfast.importing.operators import arithmetic, layout, maps, products
from holdfast.importing.operators.operator import Operator

__all__ = ["OPERATORS", "Operator"]

OPERATORS: dict[str, Callable[[Operator], Value | tuple[Value, ...]]] = {
    **arithmetic.OPERATORS,
    **layout.OPERATORS,
    **maps.OPERATORS,
    **products.OPERATORS,
}
"""By the name in ONNX."""
