"""What an operator can set of exemplars that change while they are served."""

from pathlib import Path

from pydantic import Field
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
