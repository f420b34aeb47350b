"""What an operator can ask for; apart from bundle.device, so that settings can be read without onnxruntime and faiss."""

from typing import Literal

Choice = Literal["cpu", "cuda", "auto"]
"""Where to run. "auto": the GPU if everything that it takes is there, else the CPU."""
