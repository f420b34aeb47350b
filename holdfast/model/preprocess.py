"""From an encoded image to the encoder's input: the one place where it is done, for training, evaluation and serving.

What reaches the encoder is always uint8 [H, W, 3]; scaling to [0, 1] and normalisation are inside the encoder's graph. How the
formats are decoded is in `holdfast.model.images`.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from holdfast.model.images import fitting, pixels
from holdfast.model.images.fitting import Fitting, Resample
from holdfast.model.images.pixels import Pixels
from holdfast.model.speech.pictures import FRAMES, MELS

__all__ = ["MAX_PIXELS", "InputContract", "Pixels", "decode_image", "fit"]

MAX_PIXELS = 16_777_216
"""The limit of every program's --max-pixels where nothing else is said. A JPEG may have four times as many."""


class InputContract(BaseModel):
    """What an encoder takes: a batch of uint8 [N, height, width, channels], RGB.

    Pictures of `kind` image are resized by `resample`. Where `shortest` is said, the shorter side is resized to that and the
    middle is cropped; else pictures are resized as they are, and long ones are squeezed. One of the encoder's own size is taken
    as it is, always. Pictures of speech are made of recordings as `holdfast.model.speech` makes them, and no image is taken in
    their place.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["image", "speech"] = "image"
    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)
    channels: Literal[3] = 3
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    resample: Resample = "bilinear"
    shortest: int | None = Field(default=None, ge=1, le=4096)

    @model_validator(mode="after")
    def _pictured(self) -> "InputContract":
        if self.shortest is not None and self.shortest < max(self.size):
            raise ValueError(f"a shorter side of {self.shortest}: {self.height} x {self.width} cannot be cropped from that")
        if self.kind == "speech" and self.size != (MELS, FRAMES):
            raise ValueError(f"pictures of speech are {MELS} x {FRAMES}, not {self.height} x {self.width}")
        return self

    @property
    def fitting(self) -> Fitting:
        """How a picture of any size becomes that."""
        return Fitting(self.height, self.width, self.resample, self.shortest)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width


def decode_image(encoded: bytes, contract: InputContract, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode PNG, JPEG or WebP bytes and fit them to the contract.

    The size in the header is held against `max_pixels` before a pixel is decoded, so that a bomb costs nothing. The
    orientation in EXIF or XMP is applied where it can be read; other metadata is passed over unread. Transparent pixels are
    laid on white; grey, palette, CMYK and 16-bit images become RGB. Of an animation the first frame is taken. A JPEG without
    its end marker is taken if the whole picture is there.

    Args:
        encoded: the file's bytes.
        contract: the encoder's input contract.
        max_pixels: the largest width x height that is decoded. A JPEG that has more is decoded at a half, a quarter or an
            eighth of its size, up to `jpeg_limit`.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ImageError: with field "encoded", for anything that is not a whole image of these formats.

    """
    header = pixels.read_header(encoded)
    return fitting.fit(pixels.decode(encoded, header, contract.fitting.whole, max_pixels), contract.fitting)


def fit(image: Pixels, contract: InputContract) -> Pixels:
    """Resize a decoded image to the contract, and crop it where that says so.

    Args:
        image: uint8 [h, w], [h, w, 1] or [h, w, 3], grey or RGB, each side at least 1.
        contract: the encoder's input contract.

    Returns:
        uint8 [height, width, 3]. An image of that size is returned as it is.

    Raises:
        ImageError: with field "shape" or "dtype".

    """
    return fitting.fit(image, contract.fitting)
