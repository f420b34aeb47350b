"""Every API that the server offers: a module, and one line here."""

from holdfast.server.api import holdfast_v1
from holdfast.server.api.api import Api
from holdfast.server.api.open_inference import service as open_inference

APIS: tuple[Api, ...] = (holdfast_v1.API, open_inference.API)
