"""Smooth activations reproduced in small: python -m reproduce.smooth_activations.

Xie et al. 2020, "Smooth Adversarial Training", arXiv 2006.14536: networks that are trained under attack come out more robust
with a smooth nonlinearity in the place of ReLU, and no less accurate. All else is the same in every arm.
"""
