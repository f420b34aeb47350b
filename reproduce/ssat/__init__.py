"""The table of "Self-supervised Adversarial Training" (Chen et al., arXiv 1911.06470), trained and attacked anew.

    python -m reproduce.ssat --scale small --data-dir DIR

trains every row with the same encoder, on the same CIFAR-10; indexes the same exemplars, with the same vote (k = 75,
each neighbour counts once); attacks the same test images (a) as the paper did and (b) by an adaptive ladder; and says
which of the paper's claims hold under each. What it has done already it does not do again.
"""
