"""The claims of augmentation adversarial training (Huh et al. 2020, arXiv 2007.12085), in small: voices, channels, trials."""
