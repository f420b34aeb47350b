"""Every attack a probe runs: a file, and one line here."""

from holdfast.server.monitor.probes.attack import ProbeAttack
from holdfast.server.monitor.probes.noise import noise
from holdfast.server.monitor.probes.pgd import pgd
from holdfast.server.monitor.probes.square import square

ATTACKS: dict[str, ProbeAttack] = {
    "noise": noise,
    "pgd": pgd,
    "square": square,
}
