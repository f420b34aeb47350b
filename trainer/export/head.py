"""The classifier of a training, on embeddings as they are served.

A served embedding is of unit length, and what a linear classifier says may go by the length that it had. So its weights are
scaled by the mean length of training embeddings, and the share of training images that are answered alike is kept with it. A
cosine classifier is the same on both. The map behind a whitened encoder is undone.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from holdfast.attacks.quantise import to_pixels
from holdfast.data.streaming.training import ImagePart
from holdfast.model.judgement.head import ClassifierHead
from holdfast.trainer.export.whitening import Whitened
from holdfast.trainer.objectives.head import LearnedHead

IMAGES = 1000
"""Training images that lengths are taken of, at most."""

CHUNK = 250


def served_head(head: LearnedHead, encoder: nn.Module, images: ImagePart) -> ClassifierHead:
    """What is left in the bundle.

    Args:
        head: as the objective left it, on the CPU.
        encoder: what is exported, whitened or not; on the CPU in evaluation mode.
        images: the training images.

    """
    some = images.pixels(np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(np.int64))
    trunk = encoder.encoder if isinstance(encoder, Whitened) else encoder
    with torch.no_grad():
        chunks = (to_pixels(some[start : start + CHUNK]) for start in range(0, len(some), CHUNK))
        raw = torch.cat([trunk(pixels).float() for pixels in chunks])
        unit = F.normalize(raw, dim=1)
        scale = 1.0 if head.cosine else float(raw.norm(dim=1).mean())
        centre, unwhiten, served = torch.zeros(raw.shape[1]), None, unit
        if isinstance(encoder, Whitened):
            inverse = torch.linalg.inv(encoder.map.weight.double())
            centre, unwhiten = (-inverse @ encoder.map.bias.double()).float(), inverse.float().numpy()
            served = F.normalize(encoder.map(unit), dim=1)
        made = ClassifierHead((head.weights * scale).numpy(), head.bias.numpy(), head.classes, centre.numpy(), unwhiten)
        answers = head.answers(raw).numpy()
    alike = made.logits(served.numpy())[:, : head.classes].argmax(axis=1) == answers
    return made.with_agreement(float(alike.mean()))
