"""Run by test_http_clients.py in a process of its own: python http_clients.py HOST:PORT IMAGES.npz.

Triton's clients over HTTP, blocking and with asyncio. Prints what they were told, as one JSON object.
"""

import asyncio
import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as http_client
import tritonclient.http.aio as aio_client
from tritonclient.utils import InferenceServerException

OUTPUTS = ("label", "label_name", "probabilities", "credibility", "abstain", "soft_margin")


def of_files(files: list[bytes]) -> Any:
    tensor = http_client.InferInput("image", [len(files), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[file] for file in files], dtype=np.object_), binary_data=True)
    return tensor


def of_pixels(pixels: Any, *, binary: bool) -> Any:
    tensor = http_client.InferInput("image", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels, binary_data=binary)
    return tensor


def wanted(*, binary: bool) -> list[Any]:
    return [http_client.InferRequestedOutput(name, binary_data=binary) for name in OUTPUTS]


def told(result: Any) -> dict[str, Any]:
    arrays = {name: result.as_numpy(name) for name in OUTPUTS}
    return {
        name: [item.decode() if isinstance(item, bytes) else item for item in array.ravel()]
        if array.dtype == object
        else array.tolist()
        for name, array in arrays.items()
    }


def refusal(call: Any) -> list[str]:
    try:
        call()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    raise AssertionError("it was answered")


def synchronous(address: str, files: list[bytes], pixels: Any) -> dict[str, Any]:
    client = http_client.InferenceServerClient(address, concurrency=2)
    version = client.get_model_metadata("tiny")["versions"][0]
    classes = http_client.InferRequestedOutput("probabilities", binary_data=True, class_count=2)
    calls = [client.async_infer("tiny", [of_pixels(pixels[n : n + 1], binary=True)]) for n in range(3)]
    return {
        "live": [client.is_server_live(), client.is_server_ready(), client.is_model_ready("tiny", version)],
        "not ready": [client.is_model_ready("other"), client.is_model_ready("tiny", "7")],
        "server": client.get_server_metadata()["name"],
        "config": client.get_model_config("tiny", version)["max_batch_size"],
        "index": client.get_model_repository_index(),
        "files": told(client.infer("tiny", [of_files(files)], model_version=version)),
        "files in JSON": told(client.infer("tiny", [of_files(files)], outputs=wanted(binary=False))),
        "pixels": told(client.infer("tiny", [of_pixels(pixels, binary=True)], outputs=wanted(binary=True))),
        "pixels in JSON": told(client.infer("tiny", [of_pixels(pixels, binary=False)], outputs=wanted(binary=False))),
        "id": client.infer("tiny", [of_files(files)], request_id="seven").get_response()["id"],
        "classes": client.infer("tiny", [of_files(files)], outputs=[classes]).as_numpy("probabilities").astype(str).tolist(),
        "at once": [call.get_result().as_numpy("label").tolist() for call in calls],
        "refusals": [
            refusal(lambda: client.infer("other", [of_files(files)])),
            refusal(lambda: client.infer("tiny", [of_files([files[0], b"no image"])])),
            refusal(lambda: client.infer("tiny", [of_files(files)], request_compression_algorithm="gzip")),
        ],
        "statistics": client.get_inference_statistics("tiny")["model_stats"][0]["inference_count"],
    }


async def asynchronous(address: str, files: list[bytes], pixels: Any) -> dict[str, Any]:
    async with aio_client.InferenceServerClient(address) as client:
        calls = [client.infer("tiny", [of_files(files)]), client.infer("tiny", [of_pixels(pixels, binary=False)])]
        by_files, by_pixels = await asyncio.gather(*calls)
        return {
            "live": [await client.is_server_live(), await client.is_server_ready(), await client.is_model_ready("tiny")],
            "files": told(by_files),
            "pixels": told(by_pixels),
        }


def main() -> None:
    address, path = sys.argv[1:]
    with np.load(path) as sent:
        pixels = sent["pixels"]
        files = [sent[f"file{number}"].tobytes() for number in range(len(pixels))]
    found = {"sync": synchronous(address, files, pixels), "aio": asyncio.run(asynchronous(address, files, pixels))}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
