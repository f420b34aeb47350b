"""Whether an address is reached from this machine alone."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on that address, or is at the other end of it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
