"""What an operator can ask for; apart from bundle.device, so that settings can be read without onnxruntime and faiss."""

from typing import Literal

Choice = Literal["cpu", "cuda", "auto"]
"""Where to run. "auto": the GPU if everything that it takes is there, else the CPU."""

Precision = Literal["float32", "float16"]
"""What the encoder's convolutions compute in. The CPU computes in float32; float16 is for GPUs, which multiply it faster, and
moves embeddings by no more than the export lets it (trainer/parity.py)."""
