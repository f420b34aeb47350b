"""What an ONNX file says of itself, and what is wrong with it, before anything is computed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, external_data_helper

from holdfast.importing.errors import EncoderImportError
from holdfast.importing.large_models import MOST_BYTES

DTYPES: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.UINT8: "uint8"}

Sizes = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class OnnxSource:
    """An ONNX model of one input.

    Attributes:
        path: where it was read.
        sha256: of the file, and of those with its weights after it.
        model: with its weights inside.
        input: name of its input.
        dtype: of the input: float32, float16 or uint8.
        shape: of the input; None for a size that is free.
        outputs: its outputs, by name, with their shapes; () where the file does not say.
        metadata: notes of the exporter.

    """

    path: Path
    sha256: str
    model: ModelProto
    input: str
    dtype: str
    shape: Sizes
    outputs: Mapping[str, Sizes]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def batch(self) -> int | None:
        """What its batch is fixed to; None where it is free."""
        return self.shape[0]


def read_onnx(path: Path) -> OnnxSource:
    """Read a model and its weights.

    Raises:
        EncoderImportError: it is no ONNX file, has not one image as its input, is too large, or its weights are not there or
            lie outside of its folder.
        OSError: it cannot be read.

    """
    if path.stat().st_size > MOST_BYTES:
        raise EncoderImportError(
            f"{path} is larger than 2 GB, which is what one ONNX file can hold: export it with its weights beside it"
        )
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError):
        model = ModelProto()
    if not model.graph.node or not model.opset_import:
        raise EncoderImportError(f"{path} is no ONNX file: export the model with torch.onnx.export, tf2onnx or their like")
    beside = _load_weights(model, path)
    return understand(model, path, _digest([path, *beside]))


def understand(model: ModelProto, path: Path, sha256: str) -> OnnxSource:
    """What a model with its weights inside says of itself.

    Raises:
        EncoderImportError: it has not one image as its input.

    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs) or "none"
        raise EncoderImportError(f"{path} has {len(inputs)} inputs ({names}); an image encoder takes one, the image")
    return OnnxSource(
        path=path,
        sha256=sha256,
        model=model,
        input=inputs[0].name,
        dtype=_dtype(inputs[0], path),
        shape=_image_shape(inputs[0], path),
        outputs={each.name: sizes_of(each) for each in model.graph.output},
        metadata={each.key: each.value for each in model.metadata_props},
    )


def sizes_of(value: ValueInfoProto) -> Sizes:
    """The shape of an input or output; None for a size that is free."""
    return tuple(dim.dim_value if dim.dim_value > 0 else None for dim in value.type.tensor_type.shape.dim)


def features_before(model: ModelProto, output: str) -> str | None:
    """The value that goes into the last layer of a classifier, where `output` is what such a layer makes of it."""
    makers = {name: node for node in model.graph.node for name in node.output}
    weights = {tensor.name for tensor in model.graph.initializer}
    name = output
    while (node := makers.get(name)) is not None:
        if node.op_type in {"Gemm", "MatMul"}:
            return node.input[0] if node.input[0] in makers and node.input[1] in weights else None
        following = _followed(node, makers)
        if following is None:
            return None
        name = following
    return None


def _followed(node: NodeProto, makers: Mapping[str, NodeProto]) -> str | None:
    """What a layer's own end, such as its bias or a softmax, is computed from."""
    if node.op_type not in {"Add", "Softmax", "LogSoftmax", "Sigmoid", "Identity", "Reshape", "Flatten", "Squeeze"}:
        return None
    made = [name for name in node.input if name in makers]
    return made[0] if len(made) == 1 else None


def _dtype(value: ValueInfoProto, path: Path) -> str:
    kind = value.type.tensor_type.elem_type
    if kind == TensorProto.INT8:
        raise EncoderImportError(
            f"{path} takes int8, and does not say by which scale pixels become that; export the model before it is quantised"
        )
    if kind not in DTYPES:
        name = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
        raise EncoderImportError(f"{path} takes {name}; images are taken as float32, float16 or uint8")
    return DTYPES[kind]


def _image_shape(value: ValueInfoProto, path: Path) -> Sizes:
    sizes = sizes_of(value)
    if len(sizes) != 4:
        shown = [size if size is not None else "?" for size in sizes]
        raise EncoderImportError(
            f"{path} takes {value.name} of {len(sizes)} dimensions {shown}; a batch of images has four: export the model with"
            " an input [N, 3, H, W] or [N, H, W, 3]"
        )
    return sizes


def _load_weights(model: ModelProto, path: Path) -> list[Path]:
    """Read the weights that lie beside the file, and return their files."""
    folder, files = path.resolve().parent, set[Path]()
    for tensor in external_data_helper._get_all_tensors(model):  # noqa: SLF001 - onnx has no public name for it
        if not external_data_helper.uses_external_data(tensor):
            continue
        location = external_data_helper.ExternalDataInfo(tensor).location
        file = (folder / location).resolve()
        if not file.is_relative_to(folder):
            raise EncoderImportError(f"{path} names weights outside of its folder, {location!r}; they must lie beside the file")
        if not file.is_file():
            raise EncoderImportError(f"{path} names weights in {location!r}, which is not in {folder}: copy it there")
        files.add(file)
    if files:
        try:
            external_data_helper.load_external_data_for_model(model, str(folder))
        except (ValueError, OSError, onnx.checker.ValidationError) as error:
            raise EncoderImportError(f"the weights of {path} cannot be read: {error}") from None
    return sorted(files)


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while block := opened.read(2**20):
                digest.update(block)
    return digest.hexdigest()
