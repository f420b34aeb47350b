"""How a store is kept, as the settings say it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from holdfast.server.store.limits import StoreLimits
from holdfast.server.store_settings import StoreSettings


@dataclass(frozen=True)
class StoreOptions:
    """How a store is kept.

    Attributes:
        directory: of the journal and of what is made of it.
        limits: what is allowed.
        keep_images: whether pictures are kept: for thumbnails, and to follow to a bundle of another encoder.
        stale_above: share of changed exemplars above which credibility is calibrated anew, or called stale; in [0, 1].
        follow: whether a store of another bundle is taken along to the one that is served, as a reload does.
        compact_after: changed rows after which they are folded into a bundle; 0: never.
        fold_again_s: seconds after which a fold that failed is tried again, twice as many after each further failure, up to an
            hour.

    """

    directory: Path
    limits: StoreLimits = field(default_factory=StoreLimits)
    keep_images: bool = False
    stale_above: float = 0.05
    compact_after: int = 10_000
    fold_again_s: float = 60.0
    follow: bool = False

    @classmethod
    def of(cls, settings: StoreSettings, *, follow: bool) -> Self | None:
        """As the settings have it; None where they name no store. `follow`: as below."""
        if settings.store is None:
            return None
        return cls(
            directory=settings.store,
            limits=StoreLimits(settings.store_rows, settings.store_classes, settings.store_bytes, settings.store_rate),
            keep_images=settings.keep_images,
            stale_above=settings.stale_above,
            compact_after=settings.compact_after,
            follow=follow,
        )
