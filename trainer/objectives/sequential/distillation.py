"""Not to forget by predicting what was: CaSSLe (Fini et al. 2022, arXiv 2112.04215).

With z of unit length what the encoder makes of two views, o what the encoder of the stage before made of the same views, and
p = g(z) for a predictor g, the distillation asks p to tell the images of a batch apart as o does. For 2N views, of which i and
j(i) show the same image, at temperature t:

    L(a, b) = mean over i of  -log( e^{<a_i, b_j(i)> / t} / sum over k != i of e^{<a_i, b_k> / t} )
    loss    = ( L(p, o) + L(o, p) ) / 2

the authors' form for contrastive objectives. Here z is the embedding itself, and not what the objective's own head makes of it:
a wrapper around any objective knows no head.
"""

import copy
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.trainer.encoders import ImageEncoder

TEMPERATURE = 0.2
HIDDEN = 2048


class Distillation(nn.Module):
    """The encoder as the stage before left it, and a predictor of what it makes of images.

    Part of checkpoints, and carried from stage to stage: the predictor goes on learning, the old encoder is replaced. In a
    first stage there is no old encoder.

    Args:
        encoder: whose earlier self is predicted.
        hidden: units of the predictor's hidden layer.

    """

    held: Tensor

    def __init__(self, encoder: ImageEncoder, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.register_buffer("held", torch.tensor(data=False))
        self._holds: bool | None = None
        self.before = copy.deepcopy(encoder).eval().requires_grad_(requires_grad=False)
        self.predictor = nn.Sequential(
            nn.Linear(encoder.dim, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, encoder.dim)
        )

    def train(self, mode: bool = True) -> Self:
        """As any module, but the old encoder stays in evaluation mode."""
        super().train(mode)
        self.before.eval()
        return self

    def hold(self, encoder: ImageEncoder) -> None:
        """Predict this encoder from now on."""
        self.before.load_state_dict(encoder.state_dict())
        self.held.fill_(value=True)
        self._holds = True

    def holds(self) -> bool:
        """Whether there is an old encoder."""
        if self._holds is None:
            self._holds = bool(self.held)  # which waits for a GPU, so it is done once
        return self._holds

    def loss(self, encoder: ImageEncoder, views: Tensor) -> Tensor:
        """Of float [2 N, 3, H, W] pixels, views of N images one after the other and then other views of them: a scalar."""
        with torch.no_grad():
            before = self.before(views)
        return distillation(self.predictor(encoder(views)), before, TEMPERATURE)


def distillation(predicted: Tensor, before: Tensor, temperature: float) -> Tensor:
    """The loss above, of float [2 N, D] each, of any length; in float32 also within mixed precision. N at least 2."""
    with torch.autocast(predicted.device.type, enabled=False):
        p, o = F.normalize(predicted.float(), dim=1), F.normalize(before.float(), dim=1)
        scores = p @ o.T / temperature
    itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    partners = torch.arange(len(scores), device=scores.device).roll(len(scores) // 2)
    both = [scores.masked_fill(itself, -torch.inf), scores.T.masked_fill(itself, -torch.inf)]
    return torch.stack([F.cross_entropy(each, partners) for each in both]).mean()
