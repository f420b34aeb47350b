"""mosec: its HTTP server is written in Rust; one worker process decodes and classifies in batches."""

import os
from typing import Any

from mosec import Server, ValidationError, Worker

from bench.peers.servers.json_answers import as_json
from bench.peers.servers.served import PeerModel, PeerOptions
from holdfast.errors import ImageError
from holdfast.model.preprocess import Pixels


class MosecWorker(Worker):
    """The one stage: two would hand every image from process to process."""

    def __init__(self) -> None:
        super().__init__()
        self._model = PeerModel(PeerOptions.exported())

    def deserialize(self, data: bytes) -> Pixels:
        """The bytes of a file; one that is bad fails alone."""
        try:
            return self._model.decode(data)
        except ImageError as error:
            raise ValidationError(str(error)) from None

    def forward(self, data: list[Pixels]) -> list[dict[str, Any]]:
        """A batch."""
        return self._model.classify(data)

    def serialize(self, data: dict[str, Any]) -> bytes:
        """Compact JSON; its own is indented."""
        return as_json(data)


def serve(options: PeerOptions) -> None:
    """Serves until the process is ended."""
    os.environ |= {
        "MOSEC_ADDRESS": "127.0.0.1",
        "MOSEC_PORT": str(options.port),
        "MOSEC_LOG_LEVEL": "warning",
        "MOSEC_TIMEOUT": str(round(1000 * options.deadline)),
    }
    server = Server()
    server.append_worker(MosecWorker, num=1, max_batch_size=options.batch, max_wait_time=max(1, round(1000 * options.wait)))
    server.run()
