"""An opt-in sample of the images that were answered, without labels, for a training to go on from."""

from holdfast.server.monitor.spool.observer import ImageSpool

__all__ = ["ImageSpool"]
