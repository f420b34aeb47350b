"""Tiny models of other makers: written node by node, or by torch's exporters."""

import io
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

SIDE = 16


class Convolutional(nn.Module):
    """Convolution, BatchNorm, ReLU, both pools, global mean."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6)
        self.pool, self.mean = nn.MaxPool2d(3, stride=2, padding=1), nn.AvgPool2d(3, 2)
        self.last = nn.Conv2d(6, 5, 1)

    def forward(self, pixels):
        maps = torch.relu(self.norm(self.stem(pixels)))
        return self.last(self.pool(maps)).mean((2, 3)) + 0.1 * self.mean(maps)[:, :5].mean((2, 3))


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.first, self.second = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.threefold, self.joined = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 16), nn.GELU(), nn.Linear(16, dim))

    def forward(self, tokens):
        images, length, dim = tokens.shape
        heads = self.threefold(self.first(tokens)).reshape(images, length, 3, 2, dim // 2).permute(2, 0, 3, 1, 4)
        query, key, value = heads[0], heads[1], heads[2]
        attention = (query @ key.transpose(-2, -1) / (dim // 2) ** 0.5).softmax(-1)
        tokens = tokens + self.joined((attention @ value).transpose(1, 2).reshape(images, length, dim))
        return tokens + self.mlp(self.second(tokens))


class Transformer(nn.Module):
    """A ViT of two blocks over 4 x 4 patches, with a class token: pixels -> tokens [N, 17, 8]."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 17, 8) * 0.3)
        self.blocks, self.norm = nn.Sequential(Block(8), Block(8)), nn.LayerNorm(8)

    def forward(self, pixels):
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(pixels.shape[0], -1, -1), tokens], 1) + self.places
        return self.norm(self.blocks(tokens))


def trained(kind):
    """A network with statistics and scales that are not those of a fresh one."""
    torch.manual_seed(0)
    net = kind()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
            layer.momentum = None
    net.train()(torch.rand(8, 3, SIDE, SIDE))
    return net.eval().requires_grad_(requires_grad=False)


def exported(net, *, opset, batch=None, dynamo=False):
    """The network as ONNX, by torch's exporter, for any batch or for one of `batch` images."""
    file = io.BytesIO()
    pixels = torch.rand(batch or 2, 3, SIDE, SIDE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = None if batch else ({0: torch.export.Dim("batch")},)
            program = torch.onnx.export(net, (pixels,), dynamo=True, opset_version=opset, dynamic_shapes=shapes, verbose=False)
            return program.model_proto
        axes = None if batch else {"pixels": {0: "batch"}, "features": {0: "batch"}}
        names = {"input_names": ["pixels"], "output_names": ["features"], "dynamic_axes": axes}
        torch.onnx.export(net, (pixels,), file, dynamo=False, opset_version=opset, **names)
    return onnx.load_model_from_string(file.getvalue())


def graph(nodes, shape, weights=(), *, outputs=("features",), dtype=TensorProto.FLOAT, opset=17, inputs=("pixels",), **notes):
    """A model of these nodes: of inputs of one shape and type, and of weights by name."""
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, dtype, shape) for name in inputs],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in dict(weights).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    helper.set_model_props(model, {key.replace("_", "."): value for key, value in notes.items()})
    return model


def channels_mean(shape=("N", 3, SIDE, SIDE), **options):
    """A model that gives a product of each channel's mean with a matrix: float [N, 3, h, w] -> [N, 4]."""
    weights = {"matrix": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)}
    axes = [2, 3] if shape[3] != 3 else [1, 2]
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["means", "matrix"], ["features"]),
    ]
    return graph(nodes, shape, weights, **options)


def saved(model, path):
    path.write_bytes(model.SerializeToString())
    return path
