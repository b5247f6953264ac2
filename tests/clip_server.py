"""A web server of files that misbehaves as it is told."""

from __future__ import annotations

import hashlib
import html
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote


@dataclass(frozen=True)
class Answer:
    """How one request is answered: with the file, unless told otherwise."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    """End the connection after so many bytes of those that were promised."""
    method: str = ""
    """Such requests alone are answered so; "" for all."""


@dataclass
class ClipServer:
    """Files by name, answers to come by name (then plain ones), and what was asked so far."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    always: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    credentials: list[str | None] = field(default_factory=list)
    ranges: bool = True
    lengths: bool = True
    etags: bool = True
    heads: bool = True

    def answer(self, name: str, *answers: Answer) -> None:
        """Answer the next requests for a file so."""
        self.answers.setdefault(name, []).extend(answers)

    def names(self, method: str) -> list[str]:
        """Return what was asked for by a method."""
        return [name for asked, name, _ in self.asked if asked == method]


@contextmanager
def clips_served(files: Mapping[str, bytes] | None = None) -> Iterator[ClipServer]:
    """Serve files on a free port of this machine."""
    server = ClipServer(files=dict(files or {}))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            name = unquote(self.path[1:], errors="surrogateescape")
            span = self.headers.get("Range")
            server.asked.append((self.command, name, span))
            server.credentials.append(self.headers.get("Authorization"))
            waiting = server.answers.get(name, [])
            told = waiting.pop(0) if waiting else server.always.get(name, Answer())
            if told.method not in ("", self.command):
                told = Answer()
            body = server.files.get(name)
            if self.command == "HEAD" and not server.heads:
                told = Answer(405)
            if told.status:
                return self._send(told.status, b"no", told, with_body)
            if body is None and (page := _page(server, name)):
                listed = Answer(headers={"Content-Type": "text/html"})
                return self._send(200, page, listed, with_body)
            if body is None:
                return self._send(404, b"no", told, with_body)
            headers = dict(told.headers)
            if server.etags:
                headers["ETag"] = f'"{hashlib.md5(body).hexdigest()}"'
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", span or "")
            if not (found and server.ranges):
                return self._send(200, body, Answer(0, headers, told.cut), with_body)
            start, stop = int(found[1]), int(found[2] or len(body) - 1) + 1
            if start >= len(body):
                headers["Content-Range"] = f"bytes */{len(body)}"
                return self._send(416, b"", Answer(0, headers), with_body)
            stop = min(stop, len(body))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
            self._send(206, body[start:stop], Answer(0, headers, told.cut), with_body)

        def _send(self, status: int, body: bytes, told: Answer, with_body: bool) -> None:
            self.send_response(status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            if server.lengths:
                self.send_header("Content-Length", str(len(body)))
            else:
                self.close_connection = True
            self.end_headers()
            if with_body:
                self.wfile.write(body[: told.cut])
            if told.cut is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of a client that lets go of an answer half-way."""

    with Server(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        http.shutdown()
        thread.join()


def _page(server: ClipServer, folder: str) -> bytes | None:
    """Return a page of links as web servers make one of a folder."""
    prefix = folder if not folder or folder.endswith("/") else f"{folder}/"
    inside = {name[len(prefix) :] for name in server.files if name.startswith(prefix)}
    names = {name.partition("/")[0] + ("/" if "/" in name else "") for name in inside}
    if not names:
        return None
    links = "".join(
        f'<a href="{quote(name.encode(errors="surrogateescape"))}">{html.escape(name)}</a>\n'
        for name in sorted(names)
        if name.isprintable()
    )
    return f'<html><a href="../">up</a><a href="?C=N">sort</a>{links}</html>'.encode()
