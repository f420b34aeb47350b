"""What an operator can set of what is kept on disk: exemplars that change while they are served, and a sample of images."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings


class StoreSettings(BaseSettings):
    """The settings of the store; see holdfast.server.settings."""

    store: Path | None = Field(
        None,
        description="Directory of the exemplars that are added, relabelled and deleted while the server runs, through the admin"
        " service. It is made where there is none, belongs to one bundle, and one server at a time may have it open.",
    )
    keep_images: bool = Field(
        False,
        description="Keep the pictures of added exemplars in the store: for thumbnails, and so that they can follow to a bundle"
        " with another encoder.",
    )
    judge: bool = Field(
        True,
        description="Judge new exemplars and new labels by their neighbours, by each other and by what they change of recent"
        " answers: doubtful ones go into quarantine, and vote once they are approved. --no-judge lets all of them vote.",
    )
    store_rows: int = Field(1_000_000, ge=1, description="Most exemplars, those of the bundle included.")
    store_classes: int = Field(10_000, ge=2, description="Most classes, those of the bundle included.")
    store_bytes: int = Field(10 * 2**30, ge=2**20, description="Most bytes of the store's journal.")
    store_rate: float = Field(2000.0, gt=0, description="Exemplars a second that one name may change, on average.")
    stale_above: float = Field(
        0.05,
        ge=0,
        description="Share of exemplars that may change before credibility is calibrated anew, from the bundle's held-out"
        " images, or is called stale where it has none.",
    )
    compact_after: int = Field(
        10_000, ge=0, description="Changed exemplars after which the store folds them into a bundle of its own; 0: never."
    )


class SpoolSettings(BaseSettings):
    """The settings of the spool; see holdfast.server.settings."""

    keep_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the answered images to keep in --spool, without labels, for holdfast train --continue-with; 0:"
        " none. Ask those whose images they are.",
    )
    spool: Path | None = Field(
        None,
        description="Directory that --keep-share writes PNG files to; it is made where there is none. Variants of one image are"
        " kept once, images unlike the bundle's not at all.",
    )
    spool_bytes: int = Field(
        2**30, ge=2**20, description="Most bytes in the spool; beyond them a new image takes the place of another, by chance."
    )

    @model_validator(mode="after")
    def _spool_fits(self) -> Self:
        if (self.spool is None) != (self.keep_share == 0):
            raise ValueError("--keep-share above 0 and --spool DIR go together: give both, or neither")
        return self
