"""What a credibility can tell apart that was calibrated on few images."""

import math

from holdfast.model.credibility import COVERAGE

FEW = 25
"""Calibration images below which a user is told so."""


def least_images(coverage: float = COVERAGE) -> int:
    """Calibration images from which on an answer can abstain: 19 at 95 %. 0 at 100 %, where none is to abstain."""
    return math.ceil(round(1 / (1 - coverage), 6)) - 1 if coverage < 1 else 0


def describe_resolution(images: int, coverage: float = COVERAGE) -> str | None:
    """What is lost by calibrating on so few images, for a user; None where there are enough.

    With n images p-values are multiples of 1 / (n + 1). Where 1 / (n + 1) is above 1 - coverage, an answer that is stranger
    than all of them is still no stranger than what is to be answered, so none abstains (`holdfast.model.credibility`).

    Args:
        images: that credibility is calibrated on, at least 1.
        coverage: the least probability with which a new image is to be answered, in (0, 1].

    """
    least = least_images(coverage)
    if images >= max(FEW, least):
        return None
    said = (
        f"calibrated on only {images} image{'s' * (images > 1)}: credibility comes in steps of 1/{images + 1}, and none is"
        f" below {1 / (images + 1):.3f}"
    )
    if images < least:
        said += f"; to tell the strangest {1 - coverage:.0%} from the rest takes at least {least}, so no answer abstains"
    return f"{said}. Hold out more with --calibration N when the set is indexed or trained with, or add images"
