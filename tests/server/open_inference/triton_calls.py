"""What the real tritonclient gets of a server: run by an interpreter that has it, with an address and a folder of images.

It prints JSON. tritonclient wants an older protobuf than the server, so it has an environment of its own.
"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

OUTPUTS = ("label", "probabilities", "abstain", "kth_neighbour_distance")


def inputs_of(module, images, pixels):
    """The same images as files, as raw contents and as typed ones, and as pixels."""
    files = module.InferInput("images", [len(images)], "BYTES")
    files.set_data_from_numpy(np.array(images, object))
    column = module.InferInput("images", [len(images), 1], "BYTES")
    column.set_data_from_numpy(np.array([[image] for image in images], object))
    arrays = module.InferInput("pixels", list(pixels.shape), "UINT8")
    arrays.set_data_from_numpy(pixels)
    return {"files": [files], "column": [column], "pixels": [arrays]}


def told(result):
    labels = [name.decode() for name in result.as_numpy("label").reshape(-1)]
    probabilities, abstain = result.as_numpy("probabilities"), result.as_numpy("abstain")
    return {"labels": labels, "probabilities": probabilities.round(4).tolist(), "abstain": abstain.dtype.name}


def sync(address, name, images, pixels):
    found = {}
    with triton.InferenceServerClient(address) as client:
        metadata, config = client.get_model_metadata(name), client.get_model_config(name)
        found["ready"] = [client.is_server_live(), client.is_server_ready(), client.is_model_ready(name)]
        found["unknown ready"] = client.is_model_ready("another")
        found["server"] = client.get_server_metadata().name
        found["inputs"] = {each.name: each.datatype for each in metadata.inputs}
        found["outputs"] = {each.name: [each.datatype, list(each.shape)] for each in metadata.outputs}
        found["config"] = [config.config.name, config.config.max_batch_size, [each.name for each in config.config.input]]
        wanted = [triton.InferRequestedOutput(each) for each in OUTPUTS]
        for form, inputs in inputs_of(triton, images, pixels).items():
            result = client.infer(name, inputs, outputs=wanted, request_id=form)
            assert result.get_response().id == form
            found[form] = told(result)
        files = inputs_of(triton, images, pixels)["files"]
        found["default"] = sorted(each.name for each in client.infer(name, files).get_response().outputs)
        classes = client.infer(name, files, outputs=[triton.InferRequestedOutput("probabilities", class_count=2)])
        found["classification"] = [[text.decode() for text in row] for row in classes.as_numpy("probabilities")]
        nearest = [triton.InferRequestedOutput("neighbour_ids"), triton.InferRequestedOutput("neighbour_similarities")]
        neighbours = client.infer(name, files, outputs=nearest, parameters={"neighbours": 2})
        found["neighbours"] = [list(neighbours.as_numpy(each.name()).shape) for each in nearest]
        embedding = client.infer(name, files, outputs=[triton.InferRequestedOutput("embedding")]).as_numpy("embedding")
        found["norms"] = np.linalg.norm(embedding, axis=1).round(3).tolist()
        found["refused"] = refused(client, name)
        statistics = client.get_inference_statistics(name).model_stats[0]
        found["statistics"] = [statistics.inference_count, statistics.inference_stats.success.count]
    return found


def refused(client, name):
    """What three wrong calls are told."""
    bad = triton.InferInput("images", [1], "BYTES")
    bad.set_data_from_numpy(np.array([b"no image"], object))
    other = triton.InferInput("numbers", [1], "FP32")
    other.set_data_from_numpy(np.zeros(1, np.float32))
    said = []
    for model, inputs in ((name, [bad]), (name, [other]), ("another", [bad])):
        try:
            client.infer(model, inputs)
            said.append("")
        except InferenceServerException as error:
            said.append(f"{error.status()} {error.message()}")
    return said


async def asynchronous(address, name, images, pixels):
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_ready()
        wanted = [triton_aio.InferRequestedOutput(each) for each in OUTPUTS]
        inputs = inputs_of(triton_aio, images, pixels)
        results = await asyncio.gather(*(client.infer(name, each, outputs=wanted) for each in inputs.values()))
        return dict(zip(inputs, map(told, results), strict=True))


def main():
    address, name, folder = sys.argv[1:]
    images = [path.read_bytes() for path in sorted(Path(folder).glob("*.png"))]
    pixels = np.load(Path(folder) / "pixels.npy")
    found = {"sync": sync(address, name, images, pixels), "aio": asyncio.run(asynchronous(address, name, images, pixels))}
    print(json.dumps(found))


main()
