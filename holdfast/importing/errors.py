"""What is wrong with an encoder that somebody brings."""

from holdfast.errors import HoldfastError


class EncoderImportError(HoldfastError):
    """A model that cannot become an encoder as it was asked for; the message says what to say or change."""


class UnknownOperatorError(EncoderImportError):
    """A graph with an operator that has no torch form here."""

    def __init__(self, operator: str, domain: str, node: str) -> None:
        where = f" of the domain {domain}" if domain not in {"", "ai.onnx"} else ""
        super().__init__(
            f"the graph has an operator {operator}{where} (node {node!r}), which is not among those of image encoders that are"
            " known here; export the model with standard operators, of an opset from 9 to 21, and without fusing them"
        )
        self.operator = operator
