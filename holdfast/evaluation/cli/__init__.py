"""`holdfast evaluate`: its options, its run, and what it prints."""

from holdfast.evaluation.cli.command import main

__all__ = ["main"]
