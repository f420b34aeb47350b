"""Plain grpcio: its synchronous server, a thread for each call in flight, and one thread that batches."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc

from bench.peers.servers.batch_thread import BatchThread
from bench.peers.servers.served import PeerModel, PeerOptions
from holdfast.errors import ImageError
from holdfast.protos.holdfast.v1 import answer_pb2, holdfast_pb2, holdfast_pb2_grpc

THREADS = 64


class SyncService(holdfast_pb2_grpc.HoldfastServiceServicer):
    """holdfast.v1, for calls of one encoded image."""

    def __init__(self, model: PeerModel, batches: BatchThread, deadline: float) -> None:
        self._model, self._batches, self._deadline = model, batches, deadline

    def Classify(  # type: ignore[override]  # noqa: N802 - gRPC's name; stubs are of grpc.aio
        self, request: holdfast_pb2.ClassifyRequest, context: Any
    ) -> holdfast_pb2.ClassifyResponse:
        """Waits for the batch."""
        if not context.is_active():
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")
        try:
            image = self._model.decode(request.images[0].encoded)
        except ImageError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        answered: Future[dict[str, Any]] = Future()
        self._batches.put(image, answered.set_result)
        try:
            answer = answered.result(min(context.time_remaining(), self._deadline))
        except TimeoutError:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")
        return holdfast_pb2.ClassifyResponse(results=[result_of(answer)])


def result_of(answer: dict[str, Any]) -> answer_pb2.ClassifyResult:
    """As a message."""
    label = answer_pb2.Label(index=answer["label"], name=answer["name"])
    return answer_pb2.ClassifyResult(
        answer=answer_pb2.Classification(
            label=label,
            probabilities=answer["probabilities"],
            credibility=answer["credibility"],
            confidence=answer["confidence"],
            abstain=answer["abstain"],
            soft_margin=answer["soft_margin"],
            kth_neighbour_distance=answer["kth_neighbour_distance"],
        )
    )


def serve(options: PeerOptions) -> None:
    """Serves until the process is ended."""
    model = PeerModel(options)
    server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.so_reuseport", 0)])
    service = SyncService(model, BatchThread(model, options), options.deadline)
    holdfast_pb2_grpc.add_HoldfastServiceServicer_to_server(service, server)
    server.add_insecure_port(f"127.0.0.1:{options.port}")
    server.start()
    server.wait_for_termination()
