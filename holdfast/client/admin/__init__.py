"""A Python client of holdfast's admin service, which changes exemplars and versions while the server answers.

from holdfast.client.admin import AdminClient, LabelledImage

with AdminClient("localhost:50052", token) as admin:
    outcomes = admin.add([LabelledImage(Path("lynx.png"), "lynx")], request_id="lynx-1")
"""

from holdfast.client.admin.client import AdminClient
from holdfast.client.admin.records import (
    AddedImage,
    AddOutcome,
    ExemplarInfo,
    LabelCount,
    LabelledImage,
    ServerStatus,
    VersionInfo,
)

__all__ = [
    "AddOutcome",
    "AddedImage",
    "AdminClient",
    "ExemplarInfo",
    "LabelCount",
    "LabelledImage",
    "ServerStatus",
    "VersionInfo",
]
