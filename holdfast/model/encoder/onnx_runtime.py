"""ONNX Runtime, which reports to nobody: every other module takes it from here, so none loads it with its telemetry on."""

import os

from holdfast.environment import disable_telemetry

disable_telemetry(os.environ)  # read while it is loaded

import onnxruntime  # noqa: E402, TID251 - after the environment; the one place

if os.environ["ORT_DISABLE_TELEMETRY"] == "1":  # unless the operator has set something else
    onnxruntime.disable_telemetry_events()

__all__ = ["onnxruntime"]
