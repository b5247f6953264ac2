"""A server of pretrained files that misbehaves as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from avpipe.weights import WeightFile


@dataclass(frozen=True)
class Answer:
    """How one request is answered: the asked part of the file, unless told otherwise."""

    status: int = 200
    cut: int | None = None
    """End the connection after so many bytes of those that were promised."""
    body: bytes | None = None
    """Something else than the file."""
    headers: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = True
    wait: threading.Event | None = None
    """Send the second half when this is set."""


class Origin:
    """Files by name, answers to come by name (then plain ones), and what was asked so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, str | None]] = []

    def file(
        self, name: str, content: bytes, known_hash: str | None = None, *answers: Answer
    ) -> WeightFile:
        """Offer a file."""
        self.files[name] = content
        self.answers[name] = list(answers)
        return WeightFile(name, f"{self.url}/{name}", known_hash)


@contextmanager
def origin_running() -> Iterator[Origin]:
    """Serve on a free port of this machine."""
    origin = Origin("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, span = self.path[1:], self.headers.get("Range")
            origin.asked.append((name, span))
            answers = origin.answers.get(name, [])
            answer = answers.pop(0) if answers else Answer()
            whole = origin.files.get(name)
            if whole is None or answer.status != 200:
                self.send_response(404 if whole is None else answer.status)
                self._send(b"no", answer)
                return
            start = int(span[6:-1]) if span and answer.ranges else 0
            if start >= len(whole) > 0:
                self.send_response(416)
                self._send(b"", answer)
                return
            self.send_response(206 if start else 200)
            self._send(whole[start:] if answer.body is None else answer.body, answer)

        def _send(self, body: bytes, answer: Answer) -> None:
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            half = len(body) // 2 if answer.wait else 0
            if answer.wait:
                self.wfile.write(body[:half])
                assert answer.wait.wait(20)
            self.wfile.write(body[half : answer.cut])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        origin.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield origin
        http.shutdown()
        thread.join()


def offer(
    monkeypatch: pytest.MonkeyPatch,
    networks: Mapping[str, tuple[WeightFile, ...]],
    others: Mapping[str, tuple[WeightFile, ...]] | None = None,
) -> None:
    """Let `avpipe weights` know these networks and their files instead of the real ones.

    `others` are files that a network takes only where it is told to.
    """
    from avpipe.pipeline.networks import weight_files

    def choices(kind: str) -> list[str]:
        return list(networks) if kind == "visual" else []

    def load_teacher(name: str, kind: str) -> Any:
        return SimpleNamespace(FILES=networks[name], OTHER_FILES=(others or {}).get(name, ()))

    monkeypatch.setattr(weight_files, "choices", choices)
    monkeypatch.setattr(weight_files, "load_teacher", load_teacher)
