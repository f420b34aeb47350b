"""The server attacks a sample of its own traffic, after the answer, to measure how stable that answer was."""

from holdfast.server.monitor.probes.prober import Prober

__all__ = ["Prober"]
