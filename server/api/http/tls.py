"""TLS for HTTP, of the same files as gRPC's."""

import os
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.server.access.certificates import KeyMaterial


def context_of(material: "KeyMaterial", *, asks_for_certificates: bool) -> ssl.SSLContext:
    """What connections are encrypted with, from TLS 1.2 on. Clients that are asked for a certificate have to show one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # OpenSSL reads chain and key from files. These were read once and checked together, so it gets that, and no disk does.
    descriptor = os.memfd_create("holdfast-tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, material.key.rstrip() + b"\n" + material.chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    if asks_for_certificates and material.client_ca is not None:
        context.load_verify_locations(cadata=material.client_ca.decode("ascii"))
        context.verify_mode = ssl.CERT_REQUIRED
    return context
