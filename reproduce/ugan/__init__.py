"""Learning from few labels (UGAN, arXiv 1910.08540), reproduced.

python -m reproduce.ugan --scale ci | small | colour | paper
"""
