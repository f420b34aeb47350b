"""What an operator changes from the page: exemplars in quarantine, and versions; and the exemplars' thumbnails."""

import uuid
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import hdrs, web

from holdfast.server.access.scopes import Scope
from holdfast.server.api.page.parts import ServedParts
from holdfast.server.api.page.visits.visitor import PageCall, PageRoute
from holdfast.server.core.errors import InvalidRequestError, UnavailableFeatureError
from holdfast.server.store.errors import UnknownExemplarError
from holdfast.server.store.records import Author
from holdfast.server.store.store import ExemplarStore

LONGEST_NAME = 256
"""Characters of a version's name."""

LARGEST_ID = 2**63 - 1


class PageChanges:
    """Answers the routes that change something. Belongs to one event loop.

    Args:
        parts: what it changes.
        changed: called after each change.

    """

    def __init__(self, parts: ServedParts, changed: Callable[[], None]) -> None:
        self._kept, self._versions, self._changed = parts.store, parts.versions, changed

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """What it answers."""
        exemplar = r"/exemplars/{id:\d{1,19}}"
        return (
            PageRoute("GET", f"{exemplar}/thumbnail.png", "thumbnail", Scope.ADMIN_READ, self._thumbnail),
            PageRoute("POST", f"{exemplar}/approve", "approve", Scope.ADMIN, self._approve),
            PageRoute("POST", f"{exemplar}/drop", "drop", Scope.ADMIN, self._drop),
            PageRoute("POST", "/versions/reload", "reload", Scope.ADMIN, self._reload),
            PageRoute("POST", "/versions/rollback", "rollback", Scope.ADMIN, self._rollback),
        )

    async def _thumbnail(self, call: PageCall) -> web.Response:
        picture = await self._store.thumbnail(_id_of(call))
        if picture is None:
            raise UnknownExemplarError("no picture was kept of this exemplar")
        return web.Response(body=picture, content_type="image/png")

    async def _approve(self, call: PageCall) -> web.Response:
        return await self._change(call, self._store.approve, "approved", f"Exemplar {_id_of(call)} votes now.")

    async def _drop(self, call: PageCall) -> web.Response:
        return await self._change(call, self._store.drop, "dropped", f"Exemplar {_id_of(call)} is dropped.")

    async def _change(
        self, call: PageCall, change: Callable[[list[int], str, Author], Awaitable[object]], word: str, said: str
    ) -> web.Response:
        await change([_id_of(call)], f"page-{uuid.uuid4()}", Author(_name_of(call)))
        return self._done(call, f"/?said={word}#quarantine", said)

    async def _reload(self, call: PageCall) -> web.Response:
        name = call.form.text("name")
        if len(name) > LONGEST_NAME:
            raise InvalidRequestError([("name", "is longer than any version's name")])
        served = await self._versions.reload(name or None)
        return self._done(call, "/?said=reloaded#versions", f"{served.name} is served.")

    async def _rollback(self, call: PageCall) -> web.Response:
        served = await self._versions.rollback()
        return self._done(call, "/?said=rolled-back#versions", f"{served.name} is served again.")

    def _done(self, call: PageCall, then: str, said: str) -> web.Response:
        self._changed()
        if call.wants_json:
            body = orjson.dumps({"said": said.encode("utf-8", "replace").decode()})
            return web.Response(body=body, content_type="application/json")
        return web.Response(status=303, headers={hdrs.LOCATION: then})

    @property
    def _store(self) -> ExemplarStore:
        if self._kept is None:
            raise UnavailableFeatureError("this server keeps no store of exemplars: start it with --store DIR")
        return self._kept


def _id_of(call: PageCall) -> int:
    """The exemplar in the path. Raises UnknownExemplarError for a number that no exemplar can have."""
    number = int(call.request.match_info["id"])
    if number > LARGEST_ID:
        raise UnknownExemplarError(f"there is no exemplar {number}")
    return number


def _name_of(call: PageCall) -> str:
    """Who makes the change, for the audit trail."""
    assert call.visitor.principal is not None  # noqa: S101 - the route needs a scope
    return call.visitor.principal.name
