"""`holdfast hand-on OLD NEW`: whether a bundle that went on from another may take its place, and handing it to the server."""

from holdfast.evaluation.handover.command import main

__all__ = ["main"]
