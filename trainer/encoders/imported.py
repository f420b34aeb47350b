"""The encoder of a bundle, to be trained on: the graph of its encoder.onnx as a torch module.

Preprocessing is a part of the graph, and is not trained. Normalisation works as at inference: statistics of a BatchNorm are
folded into the weights around them and stay as they are; scales and shifts are learned as other weights are. So an image's
embedding does not hang on its batch, in training either.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import Tensor

from holdfast.files import sha256_file
from holdfast.importing.encoder import EncoderOptions, read_encoder
from holdfast.importing.errors import EncoderImportError
from holdfast.importing.preprocessing import ForeignEncoder
from holdfast.model.images.fitting import Fitting, Resample
from holdfast.trainer.encoders.adapters import add_adapters, merge_adapters
from holdfast.trainer.encoders.base import ImageEncoder
from holdfast.trainer.encoders.segments import SegmentedGraph
from holdfast.trainer.encoders.weight_layers import WeightLayers, graph_of, layers_of


@dataclass(frozen=True)
class GraphConfig:
    """The encoder of a bundle; see holdfast robustify."""

    graph: Path
    """Its encoder.onnx, with all weights inside."""

    sha256: str
    """Of that file."""

    dim: int
    """Length of the embedding."""

    height: int
    """Of the images."""

    width: int
    """Of the images."""

    resample: Resample = "bilinear"
    """The filter by which pictures are resized to that."""

    shortest: int | None = None
    """What their shorter side is resized to before the middle is cropped; None crops nothing."""

    frozen_layers: int = 0
    """So many of its first layers with weights are not trained."""

    adapters: int = 0
    """Rank of the matrices that are learned beside each layer's weights, which then stay; at 0 the weights learn."""

    segments: int = 0
    """Parts of the graph whose activations are computed twice instead of kept (arXiv 1604.06174); 0 keeps all."""

    def __post_init__(self) -> None:
        least = {"frozen layers": self.frozen_layers, "rank of adapters": self.adapters, "number of segments": self.segments}
        for name, value in least.items():
            if value < 0:
                raise ValueError(f"the {name} must be at least 0, not {value}")

    @property
    def fitting(self) -> Fitting:
        """How pictures become what it takes."""
        return Fitting(self.height, self.width, self.resample, self.shortest)

    def __str__(self) -> str:
        layers = f"the first {self.frozen_layers} layers frozen" if self.frozen_layers else ""
        ranks = f"adapters of rank {self.adapters}" if self.adapters else ""
        graph = f"graph {self.sha256[:16]}, {self.height} x {self.width}, {self.dim} numbers"
        return ", ".join(part for part in (graph, layers, ranks) if part)

    def build(self) -> "GraphEncoder":
        """The encoder with the weights of the graph.

        Raises:
            EncoderImportError: the file is another one, it cannot be converted, or nothing in it can be trained.

        """
        if (found := sha256_file(self.graph)) != self.sha256:
            raise EncoderImportError(
                f"{self.graph} has sha256 {found[:16]}, the encoder to be hardened {self.sha256[:16]}: name another --out"
            )
        return GraphEncoder(read_encoder(self.graph, EncoderOptions()).encoder, self)


class GraphEncoder(ImageEncoder):
    """Float [N, 3, H, W] in [0, 1] -> [N, dim], of unit length as the graph gives it.

    Args:
        foreign: the converted graph with its preprocessing.
        config: which of its weights learn.

    """

    def __init__(self, foreign: ForeignEncoder, config: GraphConfig) -> None:
        super().__init__()
        self.foreign, self.dim, self.widths = foreign, config.dim, {}
        self.image_size, self._size = config.height, config.fitting.size
        graph = graph_of(foreign)
        foreign.network = SegmentedGraph(graph, config.segments)
        self.layers = layers_of(graph)
        _refuse_unlearnable(self.layers, config)
        learning = self.layers.names(config.frozen_layers)
        parameters = dict(graph.named_parameters())
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in learning and not config.adapters)
        if config.adapters:
            add_adapters(graph, learning, config.adapters)
        self.eval()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images it takes."""
        return self._size

    def features(self, pixels: Tensor) -> dict[int, Tensor]:
        """The global vector alone: nobody knows which values within a foreign graph are maps."""
        return {1: self(pixels)[:, :, None, None]}

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed."""
        embeddings: Tensor = self.foreign(pixels)
        return embeddings

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - the protocol's
        """Stay in evaluation mode: statistics are not learned."""
        return super().train(mode=False)

    def exported(self) -> "GraphEncoder":
        """A copy with each adapter added to its weights, which computes everything once."""
        plain = copy.deepcopy(self)
        assert isinstance(plain.foreign.network, SegmentedGraph)  # noqa: S101 - see above
        plain.foreign.network.segments = 0
        merge_adapters(plain)
        return plain


def _refuse_unlearnable(layers: WeightLayers, config: GraphConfig) -> None:
    if not len(layers):
        raise EncoderImportError("the graph has no layer with weights, so there is nothing to train in it")
    if config.frozen_layers >= len(layers):
        raise EncoderImportError(
            f"the encoder has {len(layers)} layers with weights: freeze at most {len(layers) - 1} of them, not"
            f" {config.frozen_layers}"
        )
