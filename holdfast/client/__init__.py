"""A small Python client of holdfast's gRPC service.

    from holdfast.client import Client

    with Client("localhost:50051") as holdfast:
        answer = holdfast.classify(Path("cat.png"))
        print(answer.label, answer.credibility, "do not rely on it" if answer.abstain else "")

`AsyncClient` has the same methods, awaited. A server that asks for TLS and a token:

    Client("host:50051", tls=Tls(ca=Path("ca.pem")), token=os.environ["HOLDFAST_TOKEN"])
"""

from holdfast.client.aio import AsyncClient
from holdfast.client.channel import CredentialError, Tls
from holdfast.client.errors import (
    ClientError,
    ImageRefusedError,
    MessageTooLargeError,
    OverloadedError,
    RefusedError,
    TooLateError,
    UnreachableError,
)
from holdfast.client.results import Accuracy, Answer, Certificates, ModelInfo, Neighbour, Smoothing
from holdfast.client.sync import Client

__all__ = [
    "Accuracy",
    "Answer",
    "AsyncClient",
    "Certificates",
    "Client",
    "ClientError",
    "CredentialError",
    "ImageRefusedError",
    "MessageTooLargeError",
    "ModelInfo",
    "Neighbour",
    "OverloadedError",
    "RefusedError",
    "Smoothing",
    "Tls",
    "TooLateError",
    "UnreachableError",
]
