"""Image towers of transformers: which class loads each kind of model, what of it is the embedding, and its ONNX graph."""

import tempfile
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn
from torch.nn import functional as F

from holdfast.importing.errors import EncoderImportError
from holdfast.importing.preprocessing import Preprocessing
from holdfast.importing.pretrained.files import MISSING_EXTRA, PretrainedFiles, quiet_transformers
from holdfast.model.preprocess import Pixels

OPSET = 17
INPUT, OUTPUT = "pixel_values", "embedding"

AT_ONCE = 8


class TowerFamily(NamedTuple):
    """How models of one kind are loaded.

    Attributes:
        loader: the class of transformers.
        embedding: what is taken: the class token after the last norm, what the model itself pools, or what it projects for
            comparison with texts.
        options: of the class.

    """

    loader: str
    embedding: Literal["cls", "pooled", "projected"]
    options: Mapping[str, Any] = {}


FAMILIES: Mapping[str, TowerFamily] = {
    "clip": TowerFamily("CLIPVisionModelWithProjection", "projected"),
    "clip_vision_model": TowerFamily("CLIPVisionModelWithProjection", "projected"),
    "convnext": TowerFamily("ConvNextModel", "pooled"),
    "convnextv2": TowerFamily("ConvNextV2Model", "pooled"),
    "dinov2": TowerFamily("Dinov2Model", "cls"),
    "dinov2_with_registers": TowerFamily("Dinov2WithRegistersModel", "cls"),
    "dinov3_convnext": TowerFamily("DINOv3ConvNextModel", "pooled"),
    "dinov3_vit": TowerFamily("DINOv3ViTModel", "cls"),
    "resnet": TowerFamily("ResNetModel", "pooled"),
    "siglip": TowerFamily("SiglipVisionModel", "pooled"),
    "siglip_vision_model": TowerFamily("SiglipVisionModel", "pooled"),
    "vit": TowerFamily("ViTModel", "cls", {"add_pooling_layer": False}),
}
"""By `model_type` of config.json. The pooling layer of a ViT is learned for one task, and many are saved without."""

KEPT = {"projected": "image_embeds", "cls": "last_hidden_state[:, 0]", "pooled": "pooler_output"}


class ImageTower(nn.Module):
    """What the processor made, float32 [N, 3, H, W] -> the embedding, float32 [N, D], not of unit length."""

    def __init__(self, model: nn.Module, embedding: str) -> None:
        super().__init__()
        self.model, self.embedding = model, embedding

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed."""
        outputs: Any = self.model(pixel_values=pixels)
        if self.embedding == "cls":
            tokens: Tensor = outputs.last_hidden_state
            return tokens[:, 0]
        found: Tensor = outputs.image_embeds if self.embedding == "projected" else outputs.pooler_output
        return found.flatten(1)

    @torch.no_grad()
    def embed(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed float32 [N, 3, H, W]; float32 [N, D] of unit length."""
        rows = [self(torch.from_numpy(prepared[start : start + AT_ONCE])) for start in range(0, len(prepared), AT_ONCE)]
        found: NDArray[np.float32] = F.normalize(torch.cat(rows).double(), dim=1).float().numpy()
        return found


class TowerModel:
    """The model as it came, on torch: what its bundle's encoder is held against.

    Args:
        tower: from `load_tower`.
        preprocessing: in front of it.

    """

    def __init__(self, tower: ImageTower, preprocessing: Preprocessing) -> None:
        self._tower, self._preprocessing = tower, preprocessing

    def embed(self, images: Pixels) -> NDArray[np.float32]:
        """Embed. Shape: uint8 [N, H, W, 3] -> float32 [N, D], of unit length."""
        return self._tower.embed(self._preprocessing.in_numpy(images))


def load_tower(files: PretrainedFiles, preprocessing: Preprocessing) -> ImageTower:
    """Load the image tower of a model, and try it on one picture.

    Raises:
        EncoderImportError: it is no image encoder that is known here, its weights do not fit, or it takes another size.

    """
    family = FAMILIES.get(files.kind)
    if family is None:
        raise EncoderImportError(
            f"{files.name} is of the kind {files.kind or 'that config.json does not name'}, which is no image encoder that is"
            f" known here; those of transformers are {', '.join(sorted(FAMILIES))}; others come as ONNX, by torch.onnx.export"
        )
    model = _loaded(files, family)
    tower = ImageTower(model, family.embedding).eval().requires_grad_(requires_grad=False)
    height, width = preprocessing.contract.size
    blank = torch.zeros(1, 3, height, width)
    try:
        with torch.no_grad():
            tower(blank)
    except (ValueError, RuntimeError) as error:
        raise EncoderImportError(
            f"{files.name} does not take the {height} x {width} pixels that its processor makes: {str(error).splitlines()[0]}"
        ) from None
    return tower


def _loaded(files: PretrainedFiles, family: TowerFamily) -> nn.Module:
    try:
        import transformers  # noqa: PLC0415 - an extra
    except ImportError:
        raise EncoderImportError(MISSING_EXTRA) from None
    loader = getattr(transformers, family.loader, None)
    if loader is None:
        raise EncoderImportError(f"{files.name} is a {files.kind}, which this transformers does not know: install a newer one")
    options = dict(family.options)
    if family.embedding == "projected" and "projection_dim" in files.config:
        options["projection_dim"] = files.config["projection_dim"]  # of both towers, which the vision part may not repeat
    try:
        with quiet_transformers():
            model, found = loader.from_pretrained(
                files.folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="eager",
                output_loading_info=True,
                **options,
            )
    except (ValueError, OSError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EncoderImportError(f"{files.name} cannot be loaded as {family.loader}: {reason}") from None
    if lost := sorted(map(str, (*found["missing_keys"], *found["mismatched_keys"]))):
        raise EncoderImportError(
            f"the weights of {files.name} lack {len(lost)} that its {family.loader} needs, such as {lost[0]}: they would be"
            " random"
        )
    loaded: nn.Module = model
    return loaded


def export_tower(tower: ImageTower, preprocessing: Preprocessing) -> ModelProto:
    """The tower's graph for any batch, with its weights inside; input `INPUT`, output `OUTPUT`.

    What depends on the size of images alone becomes a constant first.

    Raises:
        EncoderImportError: it cannot be exported.

    """
    height, width = preprocessing.contract.size
    pixels = torch.zeros(2, 3, height, width)
    plain = _plain(tower, pixels)
    axes = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamic_axes": axes}
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-import-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, on shapes, which are fixed here
            path = Path(folder) / "tower.onnx"
            torch.onnx.export(plain, (pixels,), path, dynamo=False, opset_version=OPSET, **names)
            exported: ModelProto = onnx.load_model(path)
    except (RuntimeError, ValueError, TypeError) as error:
        raise EncoderImportError(f"the tower cannot be exported to ONNX: {str(error).splitlines()[0]}") from None
    return exported


class PlainAttention(nn.Module):
    """torch's nn.MultiheadAttention of one learned query for all images, in operators that have an ONNX form."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.out = attention.num_heads, attention.out_proj
        weight, bias = attention.in_proj_weight.detach(), attention.in_proj_bias.detach()
        self.parts = nn.ParameterList([nn.Parameter(each, requires_grad=False) for each in (*weight.chunk(3), *bias.chunk(3))])

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, None]:
        """Attend: [N, 1, D], of which all rows are alike, and twice [N, T, D] -> [N, 1, D]."""
        rows = [F.linear(each, self.parts[i], self.parts[3 + i]) for i, each in enumerate((query[:1], key, value))]
        asked, keys, values = (each.reshape(*each.shape[:2], self.heads, -1).transpose(1, 2) for each in rows)
        weights = (asked @ keys.transpose(-2, -1) / asked.shape[-1] ** 0.5).softmax(-1)
        return self.out((weights @ values).transpose(1, 2).flatten(2)), None


def _plain(tower: ImageTower, pixels: Tensor) -> ImageTower:
    """A copy for one size of images, which shares the parameters: places of patches are computed once, by `pixels`."""
    attentions = [module for module in tower.modules() if isinstance(module, nn.MultiheadAttention)]
    kept = [*tower.parameters(), *tower.buffers()]
    plain = deepcopy(tower, {id(each): each for each in kept} | {id(each): PlainAttention(each) for each in attentions})
    modules: list[Any] = list(plain.modules())
    for module in modules:
        if hasattr(module, "interpolate_pos_encoding"):
            module.interpolate_pos_encoding = _computed_once(module.interpolate_pos_encoding)
        if hasattr(module, "rope_embeddings"):
            module.rope_embeddings.forward = _computed_once(module.rope_embeddings.forward)
    with torch.no_grad():
        plain(pixels)
    return plain


def _computed_once(function: Callable[..., Any]) -> Callable[..., Any]:
    kept: list[Any] = []

    def replay(*arguments: Any, **options: Any) -> Any:
        if not kept:
            kept.append(function(*arguments, **options))
        return kept[0]

    return replay
