"""A browser without a screen, for what needs no JavaScript: cookies, forms, and what a reply says."""

import http.client
import re
import ssl
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

from tests.server.running import Served

FORM_TOKEN = re.compile(r'data-form-token="([0-9a-f]*)"')
BOUNDARY = "holdfast-test-boundary"


@dataclass
class PageReply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Visit:
    """One visitor: keeps cookies, and the token of the forms of the page it has seen last."""

    address: tuple[str, int]
    trusted: ssl.SSLContext | None = None
    cookies: dict[str, str] = field(default_factory=dict)
    form_token: str = ""

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> PageReply:
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        if self.trusted is not None:
            connection = http.client.HTTPSConnection(*self.address, timeout=20, context=self.trusted)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent.setdefault("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        try:
            connection.request(method, path, body, sent)
            came = connection.getresponse()
            reply = PageReply(came.status, came.headers, came.read())
        finally:
            connection.close()
        for cookie in reply.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        if found := FORM_TOKEN.search(reply.body.decode("utf-8", "replace")):
            self.form_token = found[1]
        return reply

    def get(self, path: str, **headers: str) -> PageReply:
        return self.ask("GET", path, **headers)

    def post(self, path: str, **fields: str) -> PageReply:
        """A form of this page's own."""
        return self.post_raw(path, {"form_token": self.form_token} | fields)

    def post_raw(self, path: str, fields: dict[str, str], **headers: str) -> PageReply:
        body = urllib.parse.urlencode(fields).encode()
        return self.ask("POST", path, body, Content_Type="application/x-www-form-urlencoded", **headers)

    def upload(self, path: str, picture: bytes, fields: dict[str, str] | None = None, **headers: str) -> PageReply:
        parts: dict[str, Any] = {"form_token": self.form_token} | (fields or {})
        body = b"".join(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in parts.items()
        )
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="picture"; filename="p.png"\r\n\r\n'
        body += head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
        return self.ask("POST", path, body, Content_Type=f"multipart/form-data; boundary={BOUNDARY}", **headers)

    def sign_in(self, token: str) -> PageReply:
        self.get("/sign-in")
        reply = self.post("/sign-in", token=token)
        if reply.status == 303:
            self.get("/")
        return reply


def visit(served: Served) -> Visit:
    parts = urllib.parse.urlsplit(served.app.page_url)
    return Visit((parts.hostname or "", parts.port or 0))


def signed_in(served: Served, token: str) -> Visit:
    visitor = visit(served)
    assert visitor.sign_in(token).status == 303
    return visitor
