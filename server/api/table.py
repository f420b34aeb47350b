"""Every API that the server offers: a module, and one line here."""

from holdfast.server.api import holdfast_v1
from holdfast.server.api.api import Api

APIS: tuple[Api, ...] = (holdfast_v1.API,)
