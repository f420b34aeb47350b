"""What an operator can ask for. Settings read this without onnxruntime and faiss, which holdfast.model.encoder.device loads."""

from typing import Literal

DeviceChoice = Literal["cpu", "cuda", "auto"]
"""Where to run. "auto": the GPU if everything that it takes is there, else the CPU."""

Precision = Literal["float32", "float16"]
"""What the encoder's convolutions compute in. The CPU computes in float32; float16 is for GPUs, which multiply it faster, and
moves embeddings by no more than the export lets it (trainer/export/parity.py)."""
