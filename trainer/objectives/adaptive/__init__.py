"""Objectives whose targets follow the model: they remember each image, and train toward what was remembered."""
