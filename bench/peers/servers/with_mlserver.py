"""MLServer: a runtime of its own, adaptive batching, over gRPC by the Open Inference Protocol."""

import asyncio
import json
import logging
import tempfile
from pathlib import Path

import numpy as np
from mlserver import MLModel, MLServer
from mlserver.cli.serve import load_settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from numpy.typing import NDArray

from bench.peers.servers.columns import columns_of
from bench.peers.servers.served import PeerModel, PeerOptions


class MLServerRuntime(MLModel):
    """Takes BYTES tensors of files."""

    async def load(self) -> bool:
        """Opens the bundle."""
        self._model = PeerModel(PeerOptions.exported())
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """A batch, which MLServer merged of calls."""
        data = payload.inputs[0].data.root
        columns = await asyncio.to_thread(self._classify, data)
        outputs = [NumpyCodec.encode_output(name, values) for name, values in columns.items()]
        return InferenceResponse(model_name=self.name, outputs=outputs)

    def _classify(self, data: list[bytes]) -> dict[str, NDArray[np.generic]]:
        return columns_of(self._model, data)


def serve(options: PeerOptions) -> None:
    """Serves until the process is ended."""
    with tempfile.TemporaryDirectory() as folder:
        server = {
            "host": "127.0.0.1",
            "grpc_port": options.port,
            "http_port": options.port + 1,
            "metrics_port": options.port + 2,
            "parallel_workers": 0,
            "debug": False,
        }
        model = {
            "name": "classifier",
            "implementation": f"{__name__}.MLServerRuntime",
            "max_batch_size": options.batch,
            "max_batch_time": options.wait,
        }
        Path(folder, "settings.json").write_text(json.dumps(server), encoding="utf-8")
        Path(folder, "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
        logging.getLogger("mlserver").setLevel(logging.WARNING)
        asyncio.run(_run(folder))


async def _run(folder: str) -> None:
    settings, models = await load_settings(folder)
    await MLServer(settings).start(models)
