"""The attacker who has the encoder's weights but not the bank: the exemplars are the operator's, and stay there.

Such an attacker labels images of their own and lets those stand in for the exemplars. Answers are those of the server, as ever.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import Embed, Victim
from holdfast.data import LabelledImages
from holdfast.errors import HoldfastError
from holdfast.model.preprocess import Pixels

EMBEDDED_AT_ONCE = 256


def attackers_images(pool: LabelledImages, attacked: Pixels, exemplars: Iterable[str] = ()) -> LabelledImages:
    """What an attacker without the bank may learn from: images of `pool` neither attacked nor in the bank.

    Args:
        pool: labelled images of the same kind, for instance the whole test set.
        attacked: uint8 [N, H, W, 3]; every image of the pool with the very same pixels is left out.
        exemplars: sources of the exemplars (`Exemplars.sources`); images of the pool with one of these are left out.

    """
    theirs, taken = set(exemplars), _fingerprints(attacked)
    free = [
        row
        for row, (image, source) in enumerate(zip(pool.images, pool.sources, strict=True))
        if source not in theirs and image.tobytes() not in taken
    ]
    return pool.take(free)


def bank_unknown(victim: Victim, images: Pixels, labels: NDArray[np.int64], *, attacked: Pixels) -> Victim:
    """The same victim as an attacker sees it who knows the weights, and has `images` in the place of the bank.

    Args:
        victim: with its true bank.
        images: uint8 [M, H, W, 3], the attacker's own; see `attackers_images`.
        labels: int64 [M], their true classes.
        attacked: uint8 [N, H, W, 3], what will be attacked.

    Returns:
        A victim whose surrogate is over the embeddings of `images`; encoder and answers are those of `victim`.

    Raises:
        HoldfastError: an attacked image is among `images`, or a class of the bank is not.

    """
    if overlap := len(_fingerprints(images) & _fingerprints(attacked)):
        raise HoldfastError(
            f"{overlap} of the attacked images are among the attacker's own, which would give their answers away;"
            " leave them out with attackers_images"
        )
    classes = victim.surrogate.classes
    missing = np.setdiff1d(victim.surrogate.labels.cpu().numpy(), labels)
    if len(missing):
        raise HoldfastError(
            f"the attacker has no image of the classes {', '.join(map(str, missing))}, and so no way to or from them; give some"
        )
    bank = _embedded(victim.embed, images, victim.device)
    theirs = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(victim.device)
    return replace(victim, surrogate=TorchSoftKNN(bank, theirs, classes, victim.surrogate.tau, victim.surrogate.class_weights))


def _embedded(embed: Embed, images: Pixels, device: torch.device) -> Tensor:
    parts = [images[i : i + EMBEDDED_AT_ONCE] for i in range(0, len(images), EMBEDDED_AT_ONCE)]
    with torch.no_grad():
        return torch.cat([embed(to_pixels(part, device)).float() for part in parts])


def _fingerprints(images: Pixels) -> set[bytes]:
    return {image.tobytes() for image in images}
