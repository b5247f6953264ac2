"""Who may ask the server of `avpipe serve`: pages it sent itself, in a browser of this computer.

The server listens on this computer alone, yet any page open in its browser can send requests here.
Two headers, which no page can forge, tell such requests from our own: `Host`, which is another
name where somebody's domain was made to point at 127.0.0.1 (DNS rebinding), and `Origin`, the
page that asks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

NAMES = ("127.0.0.1", "localhost", "[::1]")
_HTTP_PORT = 80  # browsers leave it out
_FORBIDDEN = 403
_POLICY_VIOLATION = 1008  # how a WebSocket says it (RFC 6455, section 7.4.1)
_CORS = b"access-control-"

AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
App = Callable[[AsgiMessage, Receive, Send], Awaitable[None]]


class Guard:
    """An ASGI application in front of another: it refuses what no page of ours asks.

    Other pages are not let in by headers either: those of CORS are taken off all answers.
    """

    def __init__(self, app: App, port: int) -> None:
        """Stand before an application that listens on a port."""
        self._app = app
        ends = (f":{port}", "") if port == _HTTP_PORT else (f":{port}",)
        self._hosts = {f"{name}{end}".encode() for name in NAMES for end in ends}

    async def __call__(self, scope: AsgiMessage, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] not in ("http", "websocket"):  # the server's own start and end
            await self._app(scope, receive, send)
        elif told := self._refusal(scope["headers"]):
            await _refuse(scope, send, told)
        else:
            await self._app(scope, receive, _without_cors(send))

    def _refusal(self, headers: list[tuple[bytes, bytes]]) -> str:
        """Say why a request is refused; nothing where it is not."""
        hosts = [value.strip().lower() for name, value in headers if name.lower() == b"host"]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return "avpipe serve answers to its own address alone"
        origins = [value.strip().lower() for name, value in headers if name.lower() == b"origin"]
        if any(origin not in {b"http://" + host for host in self._hosts} for origin in origins):
            return "avpipe serve answers to its own page alone"
        return ""


def guarded(port: int) -> Callable[[Any], Any]:
    """Return a lifespan for gradio's application that puts a `Guard` before all of it.

    It runs before the first connection is taken, and stands before what gradio itself adds in
    front of its routes, which sends headers of CORS.
    """

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        app.middleware_stack = Guard(app.middleware_stack, port)
        yield

    return lifespan


async def _refuse(scope: AsgiMessage, send: Send, told: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": told})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": _FORBIDDEN, "headers": headers})
    await send({"type": "http.response.body", "body": f"{told}\n".encode()})


def _without_cors(send: Send) -> Send:
    """Return what sends the same without the headers that let other pages read an answer."""

    async def sent(message: AsgiMessage) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            headers = message.get("headers", ())
            kept = [pair for pair in headers if not bytes(pair[0]).lower().startswith(_CORS)]
            message = {**message, "headers": kept}
        await send(message)

    return sent
