"""The served classifier as a torch module, with gradients."""

from pathlib import Path

import torch
from torch import Tensor, nn

from holdfast.attacks.onnx_embedding import OnnxEmbedding
from holdfast.attacks.quantise import to_images
from holdfast.attacks.surrogate import surrogate_of
from holdfast.attacks.third_party.logits import SurrogateLogits
from holdfast.attacks.victim import Victim, served
from holdfast.bundle.reader import Bundle


class ServedModule(nn.Module):
    """Pixels float [N, 3, H, W] in [0, 1] -> logits [N, C], differentiable; `answer` says what the server would.

    A vote of neighbours has no gradient. The logits are those of the soft kNN over all exemplars (logsumexp of similarity / tau
    of each class), which nearly always prefers the served answer, and by which every class is within reach of a gradient. The
    embedding is encoder.onnx's, with gradients from gradient.onnx; pixels are rounded to grey levels on the way in, and that
    rounding counts as the identity on the way back. The module has no parameters: there is nothing to be trained.

    Args:
        bundle: open and complete.
        tau: temperature; the bundle's own by default. Which one is the worst for a classifier differs: try several.

    Raises:
        BundleError: the index cannot export its exemplars, or there is no gradient.onnx.
        ValueError: tau is not above 0.

    """

    def __init__(self, bundle: Bundle, tau: float | None = None) -> None:
        super().__init__()
        if tau is not None and not tau > 0:
            raise ValueError(f"the temperature must be positive, not {tau}")
        victim = Victim(OnnxEmbedding(bundle), surrogate_of(bundle), served(bundle.classifier()))
        self._answer, self._logits = victim.answer, SurrogateLogits(victim, tau)
        self.class_names = bundle.class_names

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of the soft kNN, on the CPU. Shape: [N, 3, H, W] -> [N, C]."""
        logits: Tensor = self._logits(pixels)
        return logits

    def answer(self, pixels: Tensor) -> Tensor:
        """The classes that a server over this bundle answers: float [N, 3, H, W] -> int64 [N]. Only these decide."""
        return torch.from_numpy(self._answer(to_images(pixels)))


def served_module(directory: Path | str, *, tau: float | None = None, threads: int = 1) -> ServedModule:
    """The classifier of a bundle as a torch module, in evaluation mode.

    Args:
        directory: a complete bundle.
        tau: see `ServedModule`.
        threads: of ONNX Runtime.

    Raises:
        BundleError: see `Bundle.open` and `ServedModule`.

    """
    return ServedModule(Bundle.open(Path(directory), threads=threads), tau).eval()
