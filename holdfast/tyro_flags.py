"""Types of flags that tyro reads: a field of such a type is typed as people write it, and shown so by --help."""

from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from holdfast.bundle.threat_model import format_epsilon, parse_epsilon

Epsilon = Annotated[
    float,
    PrimitiveConstructorSpec[Any](
        nargs=1,
        metavar="EPSILON",
        instance_from_str=lambda typed: parse_epsilon(typed[0]),
        is_instance=lambda value: isinstance(value, float | int),
        str_from_instance=lambda value: [format_epsilon(value)],
    ),
]
"""A length in pixels of [0, 1]: "8/255" or "0.03"."""
