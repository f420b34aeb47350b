"""LitServe: FastAPI in one process, the model in another, its own batching, ZeroMQ between them (`fast_queue`)."""

from typing import Any

import litserve
from fastapi import HTTPException, Request

from bench.peers.servers.served import PeerModel, PeerOptions
from holdfast.errors import ImageError
from holdfast.model.preprocess import Pixels


class LitServeApi(litserve.LitAPI):
    """Takes a form with one file."""

    def setup(self, device: str) -> None:
        """In the process of the model."""
        del device
        self._model = PeerModel(PeerOptions.exported())

    def decode_request(self, request: Request) -> Pixels:
        """The file's bytes; one that is bad fails alone."""
        try:
            return self._model.decode(request["image"].file.read())
        except ImageError as error:
            raise HTTPException(400, str(error)) from None

    def batch(self, inputs: list[Pixels]) -> list[Pixels]:
        """Leave them as they are."""
        return inputs

    def predict(self, x: list[Pixels]) -> list[dict[str, Any]]:
        """A batch."""
        return self._model.classify(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """They are one by one already."""
        return output


def serve(options: PeerOptions) -> None:
    """Serves until the process is ended."""
    api = LitServeApi(max_batch_size=options.batch, batch_timeout=options.wait, api_path="/classify")
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=1, timeout=options.deadline, fast_queue=True
    )
    server.run(
        host="127.0.0.1", port=options.port, num_api_servers=1, generate_client_file=False, log_level="error", access_log=False
    )
