"""Who asks for something of the page, and what a route of the page is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from holdfast.server.access.scopes import Principal, Scope
from holdfast.server.api.page.visits.forms import Form

if TYPE_CHECKING:
    from holdfast.server.api.page.rendering import Rendering


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever makes a request.

    Attributes:
        principal: who has signed in; None: nobody.
        form_token: what each form of theirs has to bring.
        can_sign_out: whether there is a session to end.

    """

    principal: Principal | None
    form_token: str
    can_sign_out: bool = False

    def may(self, scope: Scope | None) -> bool:
        """Whether they may use what needs that scope; None: anybody may."""
        return scope is None or (self.principal is not None and self.principal.may(scope))

    @property
    def may_change(self) -> bool:
        """Whether they may change what is served, and attack."""
        return self.may(Scope.ADMIN)


@dataclass(frozen=True, slots=True)
class PageCall:
    """One request that was let in.

    Attributes:
        request: as it came.
        visitor: who makes it.
        form: what it brings; empty of a GET.
        rendering: makes pages.

    """

    request: web.Request
    visitor: Visitor
    form: Form
    rendering: "Rendering"

    @property
    def wants_json(self) -> bool:
        """Whether the page's own script asks, and not a form without it."""
        return wants_json(self.request)

    def html(self, template: str, status: int = 200, **values: object) -> web.Response:
        """A page or a part of one."""
        text = self.rendering.render(template, visitor=self.visitor, **values)
        return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def wants_json(request: web.Request) -> bool:
    """Whether the page's own script makes a request."""
    return request.headers.get("Accept", "").startswith("application/json")


@dataclass(frozen=True, slots=True)
class PageRoute:
    """One route.

    Attributes:
        method, path: as in aiohttp's routes.
        name: for metrics.
        needs: the scope of whoever asks; None: anybody may.
        answer: gives the reply.

    """

    method: str
    path: str
    name: str
    needs: Scope | None
    answer: Callable[[PageCall], Awaitable[web.StreamResponse]]
