"""Requests that no browser sends, to the real server of `serve`: it refuses them, and lives on."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from avpipe.pipeline.pages.serve.answers import MAX_UPLOAD_MB
from avpipe.pipeline.pages.serve.run import HOST

pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is not installed")

SERVER = """
import sys
from pathlib import Path
from avpipe.pipeline.pages.serve.run import _gradio, _launch, free_port
gradio = _gradio(Path(sys.argv[1], "uploads"))
with gradio.Blocks(analytics_enabled=False) as page:
    gradio.HTML("a clip of the cache")
    gradio.File()
port = free_port(0)
_launch(gradio, page, port)
print(port, flush=True)
sys.stdin.read()
"""
SECRET = b"nobody's business"
MORE_BYTES = 300 << 20


class Server:
    """A running server.

    Attributes:
        port: Its port.
        folder: Where it lies; `secret` in it is served to nobody.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.port, self.folder, self._process = port, folder, process

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) << 10

    def send(self, request: bytes, *, close: bool = False) -> tuple[int, bytes]:
        """Send raw bytes; return the status (0: hung up on) and what came.

        Args:
            request: `%HOST` in it becomes the server's own name.
            close: Say that nothing more will come.
        """
        with socket.create_connection((HOST, self.port), timeout=60) as asked:
            came = b""
            try:
                asked.sendall(request.replace(b"%HOST", f"{HOST}:{self.port}".encode()))
                if close:
                    asked.shutdown(socket.SHUT_WR)
                while len(came) < 1 << 20:
                    some = asked.recv(1 << 16)
                    came += some
                    if not some:
                        break
            except OSError:  # hung up on, at whatever moment
                pass
        first = came.split(b" ", 2)
        return (int(first[1]) if len(first) > 1 and came.startswith(b"HTTP/") else 0), came


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "secret").write_bytes(SECRET)
    command = [sys.executable, "-c", SERVER, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        yield Server(process, int(process.stdout.readline()), folder)
        process.stdin.close()
        process.wait()


def get(path: bytes, *more: bytes, host: bytes = b"%HOST", method: bytes = b"GET") -> bytes:
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: " + host, b"Connection: close", *more]
    return b"\r\n".join([*lines, b"", b""])


UPLOAD = b"/gradio_api/upload"
FORM = b"Content-Type: multipart/form-data; boundary=B"


def form(name: bytes, content: bytes = b"x") -> bytes:
    body = b'--B\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n' % name
    body += content + b"\r\n--B--\r\n"
    return get(UPLOAD, FORM, b"Content-Length: %d" % len(body), method=b"POST") + body


_PATHS = [
    "/../secret", "/..%2fsecret", "/%2e%2e/secret", "/%2e%2e%2fsecret", "/..%5csecret",
    "/....//secret", "/gradio_api/file={folder}/secret", "/gradio_api/file=../secret",
    "/gradio_api/file=%2e%2e%2fsecret", "/gradio_api/file={folder}/uploads/../secret",
    "/gradio_api/file={folder}/uploads%2f..%2fsecret", "/gradio_api/file=/etc/passwd",
    "/gradio_api/file=//etc/passwd", "/gradio_api/file=/proc/self/environ",
    "/gradio_api/file=file:///etc/passwd", "/gradio_api/file=http://127.0.0.1:9/",
    "/gradio_api/file=%00", "/gradio_api/proxy=http://127.0.0.1:9/",
    "/static/../../../../etc/passwd", "/static/%2e%2e/%2e%2e/secret",
    "/assets/..%2f..%2f..%2fsecret", "/theme.css/../secret",
    "/gradio_api/file={folder}/secret%00.png", "/custom_component/../../x/y/z",
    "/gradio_api/stream/../../secret", "/svelte/..%2f..%2fsecret",
]  # fmt: skip


@pytest.mark.parametrize("path", _PATHS)
def test_paths_that_lead_elsewhere_bring_nothing(path: str, server: Server) -> None:
    status, came = server.send(get(path.format(folder=server.folder).encode()))
    assert SECRET not in came and b"root:" not in came and b"Traceback" not in came
    assert status in (0, 307, 400, 403, 404, 405, 422, 500) or b"gradio" in came


REQUESTS = {
    "noise": bytes(range(256)) * 8,
    "a greeting of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "no version": b"GET /\r\n\r\n",
    "HTTP/9": b"GET / HTTP/9.9\r\nHost: %HOST\r\n\r\n",
    "a method nobody knows": get(b"/", method=b"EVIL"),
    "a method of 100 kB": get(b"/", method=b"A" * 100_000),
    "a path of a megabyte": get(b"/" + b"a" * (1 << 20)),
    "a header of a megabyte": get(b"/", b"X: " + b"a" * (1 << 20)),
    "10,000 headers": get(b"/", *(b"X%d: 1" % i for i in range(10_000))),
    "a header without a colon": get(b"/", b"nonsense"),
    "a header that goes on": get(b"/", b"X: a\r\n b"),
    "NUL in a header": get(b"/", b"X: a\0b"),
    "two lengths": get(b"/config", b"Content-Length: 1", b"Content-Length: 2", method=b"POST"),
    "a negative length": get(b"/config", b"Content-Length: -1", method=b"POST"),
    "a length of 2^64": get(UPLOAD, FORM, b"Content-Length: 18446744073709551616", method=b"POST"),
    "a length that is a text": get(b"/config", b"Content-Length: x", method=b"POST"),
    "a length and pieces": get(
        UPLOAD, FORM, b"Content-Length: 4", b"Transfer-Encoding: chunked", method=b"POST"
    ) + b"zzz\r\n",
    "a piece of 2^63": get(UPLOAD, FORM, b"Transfer-Encoding: chunked", method=b"POST")
    + b"7fffffffffffffff\r\nabc",
    "a body that stops": get(UPLOAD, FORM, b"Content-Length: 1000000", method=b"POST") + b"--B\r\n",
    "no boundary": get(UPLOAD, b"Content-Type: multipart/form-data", b"Content-Length: 3",
                       method=b"POST") + b"abc",
    "a name elsewhere": form(b"../../escaped"),
    "an absolute name": form(b"/tmp/avpipe-escaped"),
    "a name of 5,000 letters": form(b"n" * 5000),
    "a name with NUL": form(b"a\0b"),
    "no name": form(b""),
    "JSON that is deep": get(b"/gradio_api/queue/join", b"Content-Type: application/json",
                             b"Content-Length: 200000", method=b"POST") + b"[" * 200_000,
    "JSON that is none": get(b"/gradio_api/queue/join", b"Content-Type: application/json",
                             b"Content-Length: 8", method=b"POST") + b"nonsense",
    "another host": get(b"/", host=b"evil.example"),
    "the whole address of another": get(b"http://evil.example/", host=b"evil.example"),
    "another page": get(b"/", b"Origin: http://evil.example"),
    "two pages": get(b"/", b"Origin: http://%HOST", b"Origin: http://evil.example"),
    "CONNECT": get(b"evil.example:443", method=b"CONNECT"),
    "an upgrade to HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_that_are_none_are_refused(name: str, server: Server) -> None:
    """And the next honest one is answered; little memory is taken; nothing is written outside."""
    before = server.resident_bytes()
    status, came = server.send(REQUESTS[name], close=True)
    assert b"Traceback" not in came and (status == 200 or b"a clip of the cache" not in came)
    assert server.resident_bytes() - before < MORE_BYTES
    assert server.send(get(b"/config"))[0] == 200
    if name.startswith(("another", "two pages", "the whole")):
        assert status == 403
    assert {path.name for path in server.folder.iterdir()} <= {"secret", "uploads"}
    assert not Path("/tmp/avpipe-escaped").exists()


def test_an_upload_may_not_be_larger_than_allowed(server: Server) -> None:
    """It is cut off, or refused, before it fills the memory."""
    before = server.resident_bytes()
    status, _ = server.send(form(b"large.mp4", bytes((MAX_UPLOAD_MB + 2) << 20)), close=True)
    assert status in (0, 400, 413)
    assert server.resident_bytes() - before < MORE_BYTES
    files = [path for path in server.folder.rglob("*") if path.is_file()]
    assert all(path.stat().st_size <= MAX_UPLOAD_MB << 20 for path in files)


def test_a_slow_body_keeps_nobody_waiting(server: Server) -> None:
    """Twenty requests that send nothing more: an honest one is answered meanwhile."""
    slow = []
    request = get(UPLOAD, FORM, b"Content-Length: 1000", method=b"POST")
    for _ in range(20):
        one = socket.create_connection((HOST, server.port), timeout=60)
        one.sendall(request.replace(b"%HOST", f"{HOST}:{server.port}".encode()) + b"--B")
        slow.append(one)
    try:
        assert server.send(get(b"/config"))[0] == 200
    finally:
        for one in slow:
            one.close()
    assert server.send(get(b"/config"))[0] == 200
