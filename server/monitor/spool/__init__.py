"""An opt-in sample of the images that were answered, without labels, for a training to go on from."""

from typing import TYPE_CHECKING

from holdfast.server.core.observers import ObserverContext

if TYPE_CHECKING:
    from holdfast.server.monitor.spool.observer import ImageSpool


def make_spool(context: ObserverContext) -> "ImageSpool | None":
    """The spool, where a share of the images is to be kept. Raises as `ImageSpool.make`."""
    if not context.settings.keep_share:
        return None
    # It brings the readers of all data sets along, and most servers keep nothing.
    from holdfast.server.monitor.spool.observer import ImageSpool  # noqa: PLC0415

    return ImageSpool.make(context)
