"""Run by test_tritonclient.py in a process of its own: python grpc_clients.py ADDRESS IMAGES.npz.

The client brings stubs of its own of the same package, and one process has room for one of them. Prints what it was told, as
one JSON object.
"""

import asyncio
import json
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as aio_client
from tritonclient.utils import InferenceServerException

OUTPUTS = ("label", "label_name", "probabilities", "credibility", "abstain", "soft_margin")


def of_files(files: list[bytes]) -> Any:
    tensor = grpc_client.InferInput("image", [len(files), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[file] for file in files], dtype=np.object_))
    return tensor


def of_pixels(pixels: Any) -> Any:
    tensor = grpc_client.InferInput("image", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    return tensor


def told(result: Any, names: tuple[str, ...] = OUTPUTS) -> dict[str, Any]:
    arrays = {name: result.as_numpy(name) for name in names}
    return {
        name: [item.decode() for item in array.ravel()] if array.dtype == object else array.tolist()
        for name, array in arrays.items()
    }


def refusal(call: Any) -> list[str]:
    try:
        call()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    raise AssertionError("it was answered")


def synchronous(address: str, files: list[bytes], pixels: Any) -> dict[str, Any]:
    client = grpc_client.InferenceServerClient(address)
    wanted = [grpc_client.InferRequestedOutput(name) for name in OUTPUTS]
    by_id = client.infer("tiny", [of_files(files)], outputs=wanted, request_id="seven")
    classes = grpc_client.InferRequestedOutput("probabilities", class_count=2)
    embedding = grpc_client.InferRequestedOutput("embedding")
    extra = client.infer("tiny", [of_files(files)], outputs=[classes, embedding])
    partly = client.infer("tiny", [of_files([files[0], b"no image"])], parameters={"partial": True}, timeout=10_000_000)
    version = by_id.get_response().model_version
    return {
        "live": [client.is_server_live(), client.is_server_ready(), client.is_model_ready("tiny", version)],
        "not ready": [client.is_model_ready("other"), client.is_model_ready("tiny", "7")],
        "server": client.get_server_metadata(as_json=True),
        "model": client.get_model_metadata("tiny", version, as_json=True),
        "config": client.get_model_config("tiny", as_json=True)["config"],
        "index": client.get_model_repository_index(as_json=True)["models"],
        "files": told(by_id),
        "id": by_id.get_response().id,
        "pixels": told(client.infer("tiny", [of_pixels(pixels)], client_timeout=20)),
        "classes": told(extra, ("probabilities",)),
        "embedding": list(extra.as_numpy("embedding").shape),
        "partial": told(partly, ("label", "error")),
        "refusals": [
            refusal(lambda: client.infer("other", [of_pixels(pixels)])),
            refusal(lambda: client.infer("tiny", [of_files([files[0], b"no image"])])),
            refusal(lambda: client.register_system_shared_memory("region", "/key", 10)),
        ],
        "stream": stream(client, pixels),
        "statistics": client.get_inference_statistics("tiny", as_json=True)["model_stats"][0],
    }


def stream(client: Any, pixels: Any) -> list[Any]:
    replies: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: replies.put((result, error)))
    for number in range(6):
        client.async_stream_infer("tiny" if number != 3 else "other", [of_pixels(pixels[:1])], request_id=str(number))
    said = [replies.get(timeout=20) for _ in range(6)]
    client.stop_stream()
    return ["error" if error else result.get_response().id for result, error in said]


async def asynchronous(address: str, files: list[bytes], pixels: Any) -> dict[str, Any]:
    async with aio_client.InferenceServerClient(address) as client:
        calls = [client.infer("tiny", [of_files(files)]), client.infer("tiny", [of_pixels(pixels)])]
        by_files, by_pixels = await asyncio.gather(*calls)

        async def requests() -> Any:
            for number in range(3):
                yield {"model_name": "tiny", "inputs": [of_pixels(pixels[number : number + 1])], "request_id": str(number)}

        streamed = [(result.get_response().id, told(result)["label"]) async for result, _ in client.stream_infer(requests())]
        return {
            "live": [await client.is_server_live(), await client.is_server_ready(), await client.is_model_ready("tiny")],
            "files": told(by_files),
            "pixels": told(by_pixels),
            "stream": streamed,
        }


def main() -> None:
    address, path = sys.argv[1:]
    with np.load(path) as sent:
        pixels = sent["pixels"]
        files = [sent[f"file{number}"].tobytes() for number in range(len(pixels))]
    print(
        json.dumps(
            {
                "sync": synchronous(address, files, pixels),
                "aio": asyncio.run(asynchronous(address, files, pixels)),
            }
        )
    )


if __name__ == "__main__":
    main()
