"""Sequential self-supervised training on streams (Hu et al., ICLR 2022, arXiv 2104.12081), at the size of CIFAR-10.

    python -m reproduce.sequential --scale small --data-dir DIR

trains an encoder without labels on chunks that come one after the other, in five orders, by four methods: plain, with replayed
images, with anchored weights (MAS), and with both; beside it one that sees all at once, and supervised controls. All see the
same number of images. It says which of the paper's claims hold. What it has done already it does not do again.
"""
