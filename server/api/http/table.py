"""Every route of the HTTP port: a module for each API, and one line here."""

from holdfast.server.api.http import open_inference
from holdfast.server.api.http.route import Route

ROUTES: tuple[Route, ...] = (*open_inference.ROUTES,)
