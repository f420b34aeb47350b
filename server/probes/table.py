"""Every attack a probe runs: a file, and one line here."""

from server.probes.attack import Attack
from server.probes.noise import noise
from server.probes.pgd import pgd

ATTACKS: dict[str, Attack] = {
    "noise": noise,
    "pgd": pgd,
}
