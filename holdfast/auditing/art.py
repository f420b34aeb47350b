"""A running server as a classifier of the Adversarial Robustness Toolbox (ART)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast.attacks.quantise import to_images
from holdfast.attacks.third_party.library import load
from holdfast.auditing.remote import RemoteClassifier
from holdfast.client import Client


def art_classifier(client: Client, *, abstains: bool = False) -> Any:
    """An ART `BlackBoxClassifier` that asks a running server, for any of ART's black-box attacks and metrics.

    It takes float [N, 3, H, W] in [0, 1], of the size that the encoder takes, which are rounded to grey levels, as every image
    on its way to a server is. It predicts float32 [N, C], the shares of the vote; the answered class has the largest.

    Args:
        client: connected to the server.
        abstains: add a last class, "no answer". To an untargeted attack of ART it counts as a wrong one, which is more than the
            attacker has achieved.

    Raises:
        ClientError: the server does not say what it serves.
        HoldfastError: ART is not installed.

    """
    black_box = load("art.estimators.classification.blackbox").BlackBoxClassifier
    remote = RemoteClassifier(client)

    def predict(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        images = to_images(torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)))
        return remote.scores(images, abstains=abstains)

    return black_box(predict, (3, *remote.size), remote.classes + abstains, clip_values=(0.0, 1.0))
