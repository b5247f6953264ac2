"""Who may ask the server of `avpipe serve`: a real server, asked as a browser or a page would."""

from __future__ import annotations

import asyncio
import base64
import http.client
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from avpipe.errors import AvpipeError
from avpipe.pipeline.pages.serve.guard import Guard
from avpipe.pipeline.pages.serve.run import HOST, _launch

NEEDS_GRADIO = pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is not installed")
PATHS = ("/", "/config", "/gradio_api/info", "/gradio_api/queue/data?session_hash=x", "/nowhere")


SERVER = """
import sys
from pathlib import Path
from avpipe.pipeline.pages.serve.run import _gradio, _launch, free_port
gradio = _gradio(Path(sys.argv[1]))
with gradio.Blocks(analytics_enabled=False) as page:
    gradio.HTML("a clip of the cache")
port = free_port(0)
_launch(gradio, page, port)
print(port, flush=True)
sys.stdin.read()
"""
"""A page with the server of `avpipe serve`; without a run, for which torch would be loaded."""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    command = [sys.executable, "-c", SERVER, str(tmp_path_factory.mktemp("uploads"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None and server.stdout is not None
        yield int(server.stdout.readline())
        server.stdin.close()
        server.wait()
    assert server.returncode == 0


def ask(port: int, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    """Ask; `Host` is the server's own where none is given."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in {"Host": f"{HOST}:{port}", **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        # an event stream has no end: its head is what counts
        body = b"" if "event-stream" in (answer.headers["content-type"] or "") else answer.read()
        return answer.status, answer.headers, body
    finally:
        connection.close()


@NEEDS_GRADIO
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "LocalHost"])
def test_its_own_page_is_answered(port: int, name: str) -> None:
    host = f"{name}:{port}"
    status, headers, body = ask(port, Host=host)
    assert status == 200 and b"gradio" in body
    for origin in (f"http://{host}", f"http://127.0.0.1:{port}"):
        status, headers, _ = ask(port, "/config", Host=host, Origin=origin)
        assert status == 200
        assert [one for one in headers if one.lower().startswith("access-control")] == []


@NEEDS_GRADIO
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1",
             "localhost.evil.example:{port}", "127.0.0.1:{port}.evil.example", "0.0.0.0:{port}",
             "192.168.0.2:{port}", ""],
)  # fmt: skip
def test_other_names_for_this_computer_are_refused(port: int, path: str, host: str) -> None:
    status, headers, body = ask(port, path, Host=host.format(port=port))
    assert status == 403
    assert b"a clip of the cache" not in body and b"Traceback" not in body
    assert [one for one in headers if one.lower().startswith("access-control")] == []


@NEEDS_GRADIO
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "https://127.0.0.1:{port}",
               "http://127.0.0.1", "http://127.0.0.1:{port}.evil.example", "file://", ""],
)  # fmt: skip
def test_other_pages_are_refused(port: int, path: str, origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        told = {"Origin": origin.format(port=port), "Access_Control_Request_Method": "POST"}
        status, headers, _ = ask(port, path, method, **told)
        assert status == 403
        assert [one for one in headers if one.lower().startswith("access-control")] == []


@NEEDS_GRADIO
def test_a_preflight_of_its_own_page_opens_nothing(port: int) -> None:
    told = {"Origin": f"http://localhost:{port}", "Access_Control_Request_Method": "POST"}
    _, headers, _ = ask(port, "/gradio_api/queue/join", "OPTIONS", **told)
    assert [one for one in headers if one.lower().startswith("access-control")] == []


@NEEDS_GRADIO
@pytest.mark.parametrize(
    ("host", "origin"),
    [("evil.example", None), ("127.0.0.1:{port}", "http://evil.example"),
     ("127.0.0.1:{port}", "null")],
)  # fmt: skip
def test_web_sockets_are_refused_too(port: int, host: str, origin: str | None) -> None:
    lines = ["GET /gradio_api/stream/x HTTP/1.1", f"Host: {host.format(port=port)}"]
    lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    lines += [f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}"]
    lines += [f"Origin: {origin}"] if origin else []
    with socket.create_connection((HOST, port), timeout=60) as asked:
        asked.sendall("\r\n".join([*lines, "", ""]).encode())
        assert asked.recv(12) == b"HTTP/1.1 403"


@NEEDS_GRADIO
def test_two_hosts_are_none(port: int) -> None:
    with socket.create_connection((HOST, port), timeout=60) as asked:
        asked.sendall(
            f"GET / HTTP/1.1\r\nHost: {HOST}:{port}\r\nHost: evil.example\r\n\r\n".encode()
        )
        assert asked.recv(10) in (b"HTTP/1.1 4", b"")


def answers(scope: dict[str, Any], port: int = 7860) -> list[Any]:
    """Return what a guard before an application that would say yes sends."""
    sent: list[Any] = []

    async def yes(scope: Any, receive: Any, send: Any) -> None:
        accepted = "websocket.accept" if scope["type"] == "websocket" else "http.response.start"
        await send({"type": accepted, "headers": [(b"Access-Control-Allow-Origin", b"*")]})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("a refused request is not read")

    asyncio.run(Guard(yes, port)(scope, receive, send))
    return sent


def test_the_guard_itself() -> None:
    own = [(b"host", b"127.0.0.1:7860")]
    assert answers({"type": "websocket", "headers": own}) == [
        {"type": "websocket.accept", "headers": []}
    ]
    foreign = [*own, (b"origin", b"http://evil.example")]
    (closed,) = answers({"type": "websocket", "headers": foreign})
    assert (closed["type"], closed["code"]) == ("websocket.close", 1008)
    assert answers({"type": "http", "headers": []})[0]["status"] == 403
    on_80 = {"type": "http", "headers": [(b"host", b"localhost"), (b"origin", b"http://localhost")]}
    assert answers(on_80, 80)[0]["headers"] == []
    assert answers(on_80)[0]["status"] == 403


class NoGuard:
    """What gradio would be if it took no lifespan."""

    class themes:
        class Base:
            def __init__(self, **_: object) -> None: ...

            def set(self, **_: object) -> None: ...

    def __init__(self) -> None:
        self.app, self.middleware_stack, self.closed = self, None, False

    def launch(self, **_: object) -> None: ...

    def close(self, verbose: bool) -> None:
        self.closed = True


def test_without_its_guard_nothing_is_served() -> None:
    page = NoGuard()
    with pytest.raises(AvpipeError, match="no guard"):
        _launch(NoGuard, page, 1)
    assert page.closed
