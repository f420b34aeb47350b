"""Encoders of other makers: what an ONNX file says of itself, its graph as a torch module, and the preprocessing in front."""
