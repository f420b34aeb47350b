"""What attacked images among the exemplars are worth."""

from typing import Literal

from pydantic import Field

from holdfast.evaluation.report.parts.base import Measured, ReportPart


class PairedAccuracy(ReportPart):
    """The accuracy of the index as shipped and of the same index without attacked exemplars, on the same images.

    Attributes:
        condition: of the images: "clean", or the ball within which each index was attacked by itself, as text.
        hardened: with the index as shipped.
        plain: with the other one.
        difference: `hardened` less `plain`, a share of the images.
        low: the lower end of its 95 % interval, which knows that the images are the same; see `holdfast.intervals.paired`.
        high: the upper end.

    """

    condition: str
    hardened: Measured
    plain: Measured
    difference: float
    low: float
    high: float


class HardenedIndex(ReportPart):
    """An index some of whose exemplars are attacked images, and the same index without them."""

    exemplars: int
    attacked: int = Field(description="exemplars that are attacked images")
    instead: Literal["the same images, not attacked", "nothing"] = Field(description="what took their place in the other index")
    attack: str = Field(description="that was aimed at each of the two indices by itself, within every ball")
    command: str = Field(default="", description="that measured it by itself; empty where the whole evaluation did")
    accuracies: tuple[PairedAccuracy, ...] = Field(description="clean, then within each ball")
