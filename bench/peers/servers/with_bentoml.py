"""BentoML: one service with one worker process and its adaptive batching."""

import os
import sys
from pathlib import Path
from typing import Any

import bentoml

from bench.peers.servers.served import PeerModel, PeerOptions

_options = PeerOptions.exported()


@bentoml.service(
    workers=1, traffic={"timeout": _options.deadline, "concurrency": _options.batch}, logging={"access": {"enabled": False}}
)
class BentoService:
    """Takes forms with files, of calls that it batches."""

    def __init__(self) -> None:
        self._model = PeerModel(_options)

    @bentoml.api(batchable=True, max_batch_size=_options.batch, max_latency_ms=round(1000 * _options.deadline))
    def classify(self, images: list[Path]) -> list[dict[str, Any]]:
        """A batch; each path is a file that BentoML has written."""
        return self._model.classify([self._model.decode(image.read_bytes()) for image in images])


def serve(options: PeerOptions) -> None:
    """Becomes `bentoml serve`."""
    os.environ["BENTOML_DO_NOT_TRACK"] = "true"
    command = ["bentoml", "serve", f"{__name__}:BentoService", "--host", "127.0.0.1", "--port", str(options.port)]
    os.execv(sys.executable, [sys.executable, "-m", *command])  # noqa: S606
