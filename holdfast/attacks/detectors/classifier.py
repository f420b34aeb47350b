"""What the classifier of a training says of answers that the index gave: softmax response and abstain logit, as detectors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.attacks.detectors.detector import Detector
from holdfast.model.judgement.head import ClassifierHead

RESPONSE, DOUBT = "classifier response", "abstain logit"


def detectors_by_head(head: ClassifierHead, device: torch.device | str = "cpu") -> list[Detector]:
    """Softmax response of the answer, and the abstain logit where there is one; without a threshold yet.

    Their penalties are what they compute themselves, as nats: whoever aims at them has their exact gradient.

    Args:
        head: of the bundle.
        device: where the attack will run.

    """
    logits = _Logits(head, device)

    def unlike(z: Tensor, wanted: Tensor) -> Tensor:
        return -F.log_softmax(logits(z)[:, : head.classes], dim=1).gather(1, wanted[:, None])[:, 0]

    def doubted(z: Tensor, wanted: Tensor) -> Tensor:  # noqa: ARG001 - the protocol's
        return F.log_softmax(logits(z), dim=1)[:, head.classes]

    response = Detector(RESPONSE, torch.inf, lambda a: -head.response(a.embeddings, a.labels), unlike)
    doubt = Detector(DOUBT, torch.inf, lambda a: head.doubt(a.embeddings), doubted)
    return [response, doubt] if head.abstains else [response]


class _Logits:
    """`ClassifierHead.logits` in torch."""

    def __init__(self, head: ClassifierHead, device: torch.device | str) -> None:
        self._weights, self._bias, self._centre = (
            torch.from_numpy(each).float().to(device) for each in (head.weights, head.bias, head.centre)
        )
        self._unwhiten = None if head.unwhiten is None else torch.from_numpy(head.unwhiten).float().to(device)

    def __call__(self, z: Tensor) -> Tensor:
        """Of embeddings of unit length [N, D]: [N, C], or [N, C + 1]."""
        u = z.float()
        if self._unwhiten is not None:
            direction = u @ self._unwhiten.T
            along, square = direction @ self._centre, direction.square().sum(1)
            length = ((along.square() + square * (1 - self._centre @ self._centre)).sqrt() - along) / square
            u = self._centre + length[:, None] * direction
        return F.linear(u, self._weights, self._bias)
