"""How a model of transformers wants its pictures: as its own processor says, and by that processor itself, to compare with."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.importing.errors import EncoderImportError
from holdfast.importing.preprocessing import Preprocessing, Triple
from holdfast.importing.pretrained.files import MISSING_EXTRA, PretrainedFiles, quiet_transformers
from holdfast.model.images.fitting import Resample
from holdfast.model.preprocess import InputContract, Pixels

RESAMPLES: Mapping[int, Resample] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""By Pillow's number."""

SQUEEZED_FROM = 384
"""A processor with a `crop_pct` resizes as it is from this size on."""

NEEDED = ("size", "resample", "image_mean", "image_std")

Sizes = tuple[int, int]


class ModelProcessor:
    """The processor that came with a model.

    Args:
        files: of the model.

    Raises:
        EncoderImportError: it cannot be loaded, or needs code of its own.

    """

    def __init__(self, files: PretrainedFiles) -> None:
        try:
            from transformers import AutoImageProcessor  # noqa: PLC0415 - an extra
        except ImportError:
            raise EncoderImportError(MISSING_EXTRA) from None
        self._processor: Any = None
        self.lacking = ""
        load: Callable[..., Any] = AutoImageProcessor.from_pretrained
        try:
            with quiet_transformers():
                self._processor = load(files.folder, backend="pil", local_files_only=True, trust_remote_code=False)
        except ImportError as error:
            self.lacking = _first_line(error).partition(". ")[0]
        except (ValueError, OSError, TypeError, KeyError) as error:
            raise EncoderImportError(f"the processor of {files.name} cannot be loaded: {_first_line(error)}") from None
        self.values: Mapping[str, Any] = files.processor if self._processor is None else self._processor.to_dict()

    def prepare(self, pictures: Sequence[Pixels]) -> NDArray[np.float32]:
        """The model's input of uint8 [h, w, 3] each: float32 [N, 3, H, W]."""
        made = self._processor(images=list(pictures), input_data_format="channels_last", return_tensors="np")
        return np.asarray(made["pixel_values"], dtype=np.float32)


def preprocessing_of_processor(values: Mapping[str, Any], name: str) -> Preprocessing:
    """The same in this library's terms, as far as that can be.

    Args:
        values: of the processor, by its own names.
        name: of the model, for errors.

    Raises:
        EncoderImportError: something is missing, or is not served.

    """

    def refusal(what: str) -> EncoderImportError:
        return EncoderImportError(f"the processor of {name} {what}")

    if missing := [key for key in NEEDED if values.get(key) is None and not _unused(values, key)]:
        raise refusal(f"does not say {', '.join(missing)}: add it to its preprocessor_config.json")
    if not values.get("do_resize", True):
        raise refusal("resizes nothing, so pictures of other sizes have no place: set do_resize in preprocessor_config.json")
    if values.get("do_pad"):
        raise refusal("pads pictures, which is not served; set do_pad to false where the encoder bears it")
    resample = RESAMPLES.get(int(values["resample"]))
    if resample is None:
        raise refusal(
            f"resamples by Pillow's filter {values['resample']}; 1 (lanczos), 2 (bilinear) and 3 (bicubic) are served"
        )
    (height, width), shortest = _sizes(values, refusal)
    try:
        contract = InputContract(height=height, width=width, resample=resample, shortest=shortest)
    except ValueError:
        crop = "" if shortest is None else f" out of a shorter side of {shortest}"
        raise refusal(f"makes pictures of {height} x {width}{crop}, which is not served") from None
    mean, std = _scale(values, refusal)
    return Preprocessing(contract, "nchw", "rgb", 1, mean, std)


def _unused(values: Mapping[str, Any], key: str) -> bool:
    return key.startswith("image_") and values.get("do_normalize") is False


def _sizes(values: Mapping[str, Any], refusal: Callable[[str], EncoderImportError]) -> tuple[Sizes, int | None]:
    """Height and width of the input, and the shorter side before a crop."""
    size = _of_sides(values["size"])
    shortest, cropped = size.get("shortest_edge"), _of_sides(values.get("crop_size") or {})
    if "height" in size and "width" in size:
        whole = size["height"], size["width"]
        crop = (cropped.get("height"), cropped.get("width")) if values.get("do_center_crop") else whole
        if crop != whole:
            raise refusal(f"squeezes pictures to {whole[0]} x {whole[1]} and then crops them, which is not served")
        return whole, None
    if shortest is None or "longest_edge" in size:
        raise refusal(f"resizes by {dict(size)}; height and width, or shortest_edge, are served")
    if values.get("crop_pct"):
        small = shortest < SQUEEZED_FROM
        return (shortest, shortest), int(shortest / float(values["crop_pct"])) if small else None
    if not values.get("do_center_crop") or not {"height", "width"} <= cropped.keys():
        raise refusal(
            "resizes the shorter side and crops nothing, so pictures have many sizes: set do_center_crop and crop_size"
        )
    return (cropped["height"], cropped["width"]), shortest


def _of_sides(size: Any) -> Mapping[str, int]:
    if isinstance(size, int):
        return {"height": size, "width": size}
    return {str(key): int(value) for key, value in dict(size).items() if value is not None}


def _scale(values: Mapping[str, Any], refusal: Callable[[str], EncoderImportError]) -> tuple[Triple, Triple]:
    """Mean and std in pixels of [0, 1]: what comes of them is (pixels - mean) / std."""
    white = 255 * float(values.get("rescale_factor", 1 / 255)) if values.get("do_rescale", True) else 255.0
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if values.get("do_normalize", True):
        mean, std = (_triple(values[key]) for key in ("image_mean", "image_std"))
    numbers = (white, *mean, *std)
    if not all(map(math.isfinite, numbers)) or white <= 0 or min(std) <= 0:
        raise refusal(f"scales pixels by {white / 255:g}, mean {mean} and std {std}, which cannot be")
    return _divided(mean, white), _divided(std, white)


def _triple(value: Any) -> Triple:
    numbers = [float(each) for each in value] if isinstance(value, list | tuple) else [float(value)] * 3
    if len(numbers) != 3:
        return math.nan, math.nan, math.nan
    return numbers[0], numbers[1], numbers[2]


def _divided(numbers: Triple, by: float) -> Triple:
    by = 1.0 if math.isclose(by, 1.0, rel_tol=1e-6) else by
    return numbers[0] / by, numbers[1] / by, numbers[2] / by


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
