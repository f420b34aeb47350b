"""A running server as a model of foolbox."""

from typing import Any

import torch

from holdfast.attacks.quantise import to_images
from holdfast.attacks.third_party.library import load
from holdfast.auditing.remote import RemoteClassifier
from holdfast.client import Client


def foolbox_model(client: Client) -> Any:
    """A foolbox model that asks a running server, for foolbox's decision-based attacks.

    It takes torch tensors float [N, 3, H, W] in [0, 1], of the size that the encoder takes, which are rounded to grey levels,
    and returns float [N, C], the shares of the vote, which have no gradient; the answered class has the largest.

    Args:
        client: connected to the server.

    Raises:
        ClientError: the server does not say what it serves.
        HoldfastError: foolbox is not installed.

    """
    eagerpy, base = load("eagerpy"), load("foolbox.models.base")
    remote = RemoteClassifier(client)

    class ServerModel(base.Model):  # type: ignore[misc, name-defined]
        """Answers over gRPC."""

        data_format = "channels_first"

        @property
        def bounds(self) -> Any:
            return load("foolbox.types").Bounds(0, 1)

        def __call__(self, inputs: Any) -> Any:
            pixels, restore = eagerpy.astensor_(inputs)
            raw = pixels.raw
            if not isinstance(raw, torch.Tensor):
                raise TypeError(f"the model takes torch tensors float [N, 3, H, W], not {type(raw).__name__}")
            scores = torch.from_numpy(remote.scores(to_images(raw))).to(raw.device)
            return restore(eagerpy.astensor(scores))

    return ServerModel()
