"""PyTriton: Triton Inference Server and its dynamic batcher, with the model in a Python process beside it."""

import tempfile

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, QueuePolicy, Tensor
from pytriton.triton import Triton, TritonConfig

from bench.peers.servers.columns import columns_of
from bench.peers.servers.served import PeerModel, PeerOptions


def serve(options: PeerOptions) -> None:
    """Serves until the process is ended."""
    model = PeerModel(options)

    @batch
    def classify(image: NDArray[np.object_]) -> dict[str, NDArray[np.generic]]:
        return columns_of(model, image[:, 0].tolist())

    policy = QueuePolicy(default_timeout_microseconds=round(1e6 * options.deadline))
    batcher = DynamicBatcher(max_queue_delay_microseconds=round(1e6 * options.wait), default_queue_policy=policy)
    with tempfile.TemporaryDirectory() as folder:
        config = TritonConfig(
            grpc_address="127.0.0.1",
            grpc_port=options.port,
            http_address="127.0.0.1",
            http_port=options.port + 1,
            metrics_port=options.port + 2,
            metrics_address="127.0.0.1",
            log_verbose=0,
        )
        with Triton(config=config, workspace=f"{folder}/workspace") as triton:
            triton.bind(
                model_name="classifier",
                infer_func=classify,
                inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
                outputs=[
                    Tensor(name="label", dtype=np.int64, shape=(1,)),
                    Tensor(name="probabilities", dtype=np.float32, shape=(model.classes,)),
                    Tensor(name="figures", dtype=np.float32, shape=(5,)),
                ],
                config=ModelConfig(max_batch_size=options.batch, batcher=batcher),
                strict=False,
            )
            triton.serve()
