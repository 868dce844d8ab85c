"""Owns the viewer's front door: who may come in, from which page, with how many bytes, and what the page may load."""

import base64
import hmac
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scene3d.errors import InputError
from scene3d.io.opening import read_file_bytes

MAX_AUTH_FILE_BYTES = 64 * 1024
MIN_PASSWORD_LENGTH = 8
MAX_BODY_BYTES = 2 << 20
"""Of everything but uploads."""

UPLOAD_PATHS = ("/gradio_api/upload", "/upload")
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PAGE_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "style-src 'self' 'unsafe-inline'; worker-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
"""No request leaves for another machine, whatever a page's parts may ask for: the browser itself refuses."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorSettings:
    """How the door is kept."""

    passwords: Mapping[str, str] = field(default_factory=dict)
    """By name; without any, everybody on this machine may come in."""

    only_loopback: bool = True
    """Answer to the names of this machine alone, so that no other site's name can be made to point here."""

    max_upload_bytes: int = 16 << 30
    """Of all uploads on their way together."""


class Door:
    """Middleware in front of everything the server answers."""

    def __init__(self, app: ASGIApp, settings: DoorSettings) -> None:
        self._app = app
        self._settings = settings
        self._quota = _Quota(settings.max_upload_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refuse(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        is_upload = scope["method"] not in SAFE_METHODS and scope["path"].endswith(UPLOAD_PATHS)
        counted = _CountedBody(receive, self._quota if is_upload else None)
        await self._answer(scope, counted, send)

    async def _answer(self, scope: Scope, body: "_CountedBody", send: Send) -> None:
        begun = False

        async def send_on(message: Message) -> None:
            nonlocal begun
            if body.refusal is not None and not begun:
                return  # whatever the application makes of the cut body, the person hears the reason
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", []), *_added_headers(message)]
            await send(message)

        try:
            await self._app(scope, body.receive, send_on)
        except _TooLarge:
            if begun:
                raise
        finally:
            if body.refusal is not None and not begun:
                await _refusal(413, body.refusal)(scope, body.receive, send)
            body.close()

    def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        host = _host_name(headers.get("host", ""))
        if self._settings.only_loopback and host not in LOOPBACK_NAMES:
            return _refusal(403, "this server answers to the names of its own machine only")
        if self._settings.passwords and not _knows_password(headers, self._settings.passwords):
            answer = _refusal(401, "name and password are needed")
            answer.headers["WWW-Authenticate"] = 'Basic realm="scene3d", charset="UTF-8"'
            return answer
        if scope["type"] == "http" and scope["method"] in SAFE_METHODS:
            return None
        if not _is_same_origin(headers):
            return _refusal(403, "requests from pages of other sites are refused")
        return self._refuse_size(scope, headers)

    def _refuse_size(self, scope: Scope, headers: Headers) -> Response | None:
        declared = headers.get("content-length", "0")
        if not declared.isdigit():
            return _refusal(400, "the length of the request is no number")
        limit = self._quota.left() if scope["path"].endswith(UPLOAD_PATHS) else MAX_BODY_BYTES
        if int(declared) > limit:
            return _refusal(413, f"the request holds {int(declared):,} bytes; at most {limit:,} are accepted now")
        return None


def read_passwords(path: Path) -> dict[str, str]:
    """Names and passwords: one `name:password` a line, lines that begin with # left out.

    Raises:
        InputError: Nobody is in it, a password is short, or others than its owner may read the file.
    """
    if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InputError("others may read this file", where=path, remedy=f"run: chmod 600 {path}")
    text = read_file_bytes(path, max_bytes=MAX_AUTH_FILE_BYTES).decode("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.partition(":") for line in lines if line and not line.startswith("#")]
    passwords = {name: password for name, colon, password in pairs if colon and name}
    if not passwords or len(passwords) < len(pairs):
        raise InputError("it needs lines like name:password, each name once", where=path)
    if min(map(len, passwords.values())) < MIN_PASSWORD_LENGTH:
        raise InputError(f"a password is shorter than {MIN_PASSWORD_LENGTH} signs", where=path)
    return passwords


class _TooLarge(Exception):
    """A body went beyond what was allowed."""


class _Quota:
    """Bytes of all bodies on their way, under one limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._lock = Lock()

    def left(self) -> int:
        return self._limit - self._used

    def take(self, count: int) -> None:
        with self._lock:
            if self._used + count > self._limit:
                raise _TooLarge("too much is being uploaded at this moment; try again later")
            self._used += count

    def give_back(self, count: int) -> None:
        with self._lock:
            self._used -= count


class _CountedBody:
    """Counts a request's body as it arrives: what its header declares is no proof."""

    def __init__(self, receive: Receive, quota: _Quota | None) -> None:
        self._receive = receive
        self._quota = quota
        self._count = 0
        self.refusal: str | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        count = len(message.get("body", b""))
        try:
            self._take(count)
        except _TooLarge as error:
            self.refusal = str(error)
            raise
        self._count += count
        return message

    def _take(self, count: int) -> None:
        if self._quota is not None:
            self._quota.take(count)
        elif self._count + count > MAX_BODY_BYTES:
            raise _TooLarge(f"at most {MAX_BODY_BYTES:,} bytes are accepted here")

    def close(self) -> None:
        if self._quota is not None:
            self._quota.give_back(self._count)


def _host_name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()


def _is_same_origin(headers: Headers) -> bool:
    """Whether a request comes from our own page, or from a program, which sends no Origin."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host", "")


def _knows_password(headers: Headers, passwords: Mapping[str, str]) -> bool:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        name, _, password = base64.b64decode(token, validate=True).decode("utf-8").partition(":")
    except ValueError:
        return False
    # Also of an unknown name something is compared, so that the time taken does not tell which names there are.
    known = passwords.get(name, "")
    return hmac.compare_digest(password.encode(), known.encode()) and known != ""


def _added_headers(message: Message) -> list[tuple[bytes, bytes]]:
    present = {name.lower() for name, _ in message.get("headers", [])}
    added = {**SECURITY_HEADERS, "Content-Security-Policy": PAGE_POLICY}
    return [
        (name.lower().encode(), value.encode()) for name, value in added.items() if name.lower().encode() not in present
    ]


def _refusal(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status_code=status)
