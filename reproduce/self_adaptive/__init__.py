"""Self-adaptive training reproduced in small: python -m reproduce.self_adaptive.

Huang, Zhang and Zhang, arXiv 2002.10319 and 2101.08732: labels of which some are wrong, selective classification, an
adversarial and a self-supervised form. Each claim is judged on the same images.
"""
