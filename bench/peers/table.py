"""The servers that are compared, each one line."""

from dataclasses import dataclass

from bench.peers import wires
from bench.peers.wires import Wire


@dataclass(frozen=True)
class Peer:
    """One server.

    Attributes:
        name: on the command line.
        title: in tables.
        wire: how it is asked.
        module: of bench.peers.servers that starts it; "" for holdfast itself.
        requirements: the file in requirements/ that its environment is made of, without its ending; "" for this one.
        port_offset: of the port that is asked, from the one that it is given.

    """

    name: str
    title: str
    wire: Wire
    module: str = ""
    requirements: str = ""
    port_offset: int = 0


HOLDFAST = Peer("holdfast", "holdfast", wires.HOLDFAST)
ECHO = Peer("echo", "grpc.aio that answers with constant bytes", wires.ECHO, "with_echo")
PEERS = (
    Peer("grpcio", "grpcio, synchronous, a batch thread", wires.HOLDFAST, "with_grpcio"),
    Peer("pytriton", "PyTriton", wires.OPEN_INFERENCE, "with_pytriton", "pytriton"),
    Peer("mlserver", "MLServer", wires.OPEN_INFERENCE, "with_mlserver", "mlserver"),
    Peer("ray-grpc", "Ray Serve, gRPC", wires.HOLDFAST, "with_ray", "ray", port_offset=1),
    Peer("mosec", "mosec", wires.file_over_http("/inference"), "with_mosec", "mosec"),
    Peer("fastapi", "FastAPI, a batch thread", wires.file_over_http("/classify"), "with_fastapi", "fastapi"),
    Peer("litserve", "LitServe", wires.form_over_http("/classify", "image"), "with_litserve", "litserve"),
    Peer("bentoml", "BentoML", wires.form_over_http("/classify", "images"), "with_bentoml", "bentoml"),
    Peer("ray", "Ray Serve, HTTP", wires.file_over_http("/classify"), "with_ray", "ray"),
)
BY_NAME = {peer.name: peer for peer in (HOLDFAST, ECHO, *PEERS)}
