"""A small Python client of holdfast's gRPC service.

    from holdfast.client import Client

    with Client("localhost:50051") as holdfast:
        answer = holdfast.classify(Path("cat.png"))
        print(answer.label, answer.credibility, "do not rely on it" if answer.abstain else "")

`AsyncClient` has the same methods, awaited.
"""

from holdfast.client.aio import AsyncClient
from holdfast.client.errors import (
    ClientError,
    ImageRefusedError,
    MessageTooLargeError,
    OverloadedError,
    RefusedError,
    TooLateError,
    UnreachableError,
)
from holdfast.client.results import Accuracy, Answer, ModelInfo, Neighbour
from holdfast.client.sync import Client

__all__ = [
    "Accuracy",
    "Answer",
    "AsyncClient",
    "Client",
    "ClientError",
    "ImageRefusedError",
    "MessageTooLargeError",
    "ModelInfo",
    "Neighbour",
    "OverloadedError",
    "RefusedError",
    "TooLateError",
    "UnreachableError",
]
