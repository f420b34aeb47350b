"""How near an imported encoder is to its model behind the processor that came with it, on pictures of many sizes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from holdfast.importing.encoder import ImportedEncoder
from holdfast.importing.errors import EncoderImportError
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.model.preprocess import Pixels, fit

PICTURES = 100

MOST_LEVELS = 1.0
"""Mean difference of pixels, in grey levels. Resizing rounds to levels, and libraries do not agree on the last one; a processor
that crops or scales in another way is tens of levels away."""


@dataclass(frozen=True)
class ProcessorParity:
    """The model behind its own processor, and the bundle's encoder behind what serves.

    Attributes:
        largest: difference of any number of any embedding of unit length.
        levels: mean difference of what the network is given, in grey levels.
        pictures: that were compared, of many sizes.

    """

    largest: float
    levels: float
    pictures: int

    def __str__(self) -> str:
        return (
            f"largest difference {self.largest:.1e} on {self.pictures} pictures of many sizes, which it resizes to within"
            f" {self.levels:.2f} grey levels in the mean"
        )


@dataclass(frozen=True, eq=False)
class PreparedPictures:
    """Pictures of many sizes as the model's own processor prepares them, and as what serves does.

    Attributes:
        theirs: embeddings of the model behind its processor, float32 [N, D], of unit length.
        fitted: the pictures as the bundle's encoder is given them, uint8 [N, H, W, 3].
        levels: mean difference of what the network is given, in grey levels.

    """

    theirs: NDArray[np.float32]
    fitted: Pixels
    levels: float

    def parity(self, encoder: OnnxEncoder) -> ProcessorParity:
        """How far the bundle's encoder is from the model behind its processor."""
        parts = [encoder.embed(self.fitted[start : start + 10]) for start in range(0, len(self.fitted), 10)]
        return ProcessorParity(float(np.abs(self.theirs - np.concatenate(parts)).max()), self.levels, len(self.fitted))


def prepared_pictures(imported: ImportedEncoder) -> PreparedPictures | None:
    """Prepare pictures twice and compare them; None where there is no processor, or it cannot be loaded.

    Raises:
        EncoderImportError: the processor prepares pictures in another way than was understood.

    """
    if imported.tower is None or imported.tower[1].lacking:
        return None
    (tower, processor), prepared = imported.tower, imported.preprocessing
    pictures = pictures_of_many_sizes(prepared.contract.size, PICTURES)
    theirs = processor.prepare(pictures)
    fitted = np.stack([fit(picture, prepared.contract) for picture in pictures])
    ours = prepared.in_numpy(fitted)
    if ours.shape != theirs.shape:
        raise EncoderImportError(f"the processor makes {list(theirs.shape[2:])} of pictures, and not {list(ours.shape[2:])}")
    levels = float((np.abs(theirs - ours) * np.array(prepared.std, np.float32).reshape(1, 3, 1, 1)).mean() * 255)
    if not levels <= MOST_LEVELS:
        raise EncoderImportError(
            f"what its processor makes of pictures differs by {levels:.1f} grey levels in the mean from what was understood"
            f" of it, and {MOST_LEVELS:g} is allowed: this is a fault of the import, please report it"
        )
    return PreparedPictures(tower.embed(theirs), fitted, levels)


def pictures_of_many_sizes(size: tuple[int, int], count: int) -> list[Pixels]:
    """Soft random pictures uint8 [h, w, 3], from half of a size to twice of it, wide and tall; none is of that size."""
    random = np.random.default_rng(0)
    pictures: list[Pixels] = []
    while len(pictures) < count:
        height, width = (max(2, int(side * random.uniform(0.5, 2))) for side in size)
        if (height, width) == size:
            continue
        coarse = random.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
        pictures.append(np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)))
    return pictures
