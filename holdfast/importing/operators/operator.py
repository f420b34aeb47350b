"""One operator of an ONNX graph, as the functions that build it in torch see it."""

from dataclasses import dataclass
from typing import Any

from holdfast.importing.errors import EncoderImportError
from holdfast.importing.graph_builder import FixedValue, GraphBuilder, TracedValue, Value


@dataclass(frozen=True)
class Operator:
    """A node with the values that go into it.

    Attributes:
        kind: its name, such as "Conv".
        name: of the node, for messages.
        opset: of the standard operators in the graph.
        attributes: by name; text as str, tensors as torch's.
        inputs: in the operator's order; None for one that is left out.
        outputs: how many of its results somebody uses.
        builder: where it is built.

    """

    kind: str
    name: str
    opset: int
    attributes: dict[str, Any]
    inputs: tuple[Value | None, ...]
    outputs: int
    builder: GraphBuilder

    def value(self, index: int) -> Value:
        """An input that the operator must have."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise self.fault("lacks an input")
        return value

    def optional(self, index: int) -> Value | None:
        """An input that may be left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def numbers(self, attribute: str, index: int) -> list[Any] | None:
        """Constants that older opsets take as an attribute and newer ones as an input; None where there are none."""
        if attribute in self.attributes:
            given = self.attributes[attribute]
            return list(given) if isinstance(given, list | tuple) else [given]
        value = self.optional(index)
        return None if value is None else self.builder.numbers(value)

    def number(self, attribute: str, index: int) -> Any:
        """As `numbers`, of a single one."""
        found = self.numbers(attribute, index)
        return found[0] if found else None

    def rank(self, index: int = 0) -> int:
        """How many dimensions an input has."""
        return int(self.value(index).examples[0].ndim)

    def axis(self, default: int, rank: int | None = None) -> int:
        """The attribute `axis`, from 0."""
        axis = int(self.attributes.get("axis", default))
        return axis % (self.rank() if rank is None else rank)

    def traced(self) -> bool:
        """Whether it hangs on the pixels."""
        return any(isinstance(value, TracedValue) for value in self.inputs)

    def fixed(self, index: int) -> FixedValue | None:
        """An input that is the same for every batch."""
        value = self.optional(index)
        return value if isinstance(value, FixedValue) and value.constant else None

    def fault(self, reason: str) -> EncoderImportError:
        """The error that says what is wrong with it."""
        return EncoderImportError(f"the operator {self.kind} (node {self.name!r}) {reason}, so this graph cannot be imported")
