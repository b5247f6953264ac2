"""Clips of a web server, fetched one at a time: what servers do, and what becomes of the clip."""

import os
import socketserver
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import pytest
from avpipe import drafts
from avpipe.errors import ClipError, InputError, Reason, words_of_tls
from avpipe.stages.sources import fetch, reach, web
from avpipe.stages.sources.reach import BrokenError, DeniedError, Version, place_of
from avpipe.stages.sources.staging import staged, staged_file
from clip_server import Answer, ClipServer, clips_served

CLIP = os.urandom(40_000)


@pytest.fixture
def server() -> Iterator[ClipServer]:
    with clips_served({"v/a.mp4": CLIP}) as running:
        yield running


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[float]:
    """Wait for nothing, and fetch into a folder of the test."""
    found: list[float] = []
    monkeypatch.setattr(reach, "wait", found.append)
    monkeypatch.setattr(drafts.tempfile, "tempdir", str(tmp_path))
    return found


def fetched(server: ClipServer, name: str = "v/a.mp4", **line: object) -> bytes:
    path = f"{server.url}/{name}"
    with staged({"path": path, "folder": f"{server.url}/v", **line}) as files:
        return Path(files["path"]).read_bytes()


def failure(server: ClipServer, name: str = "v/a.mp4", **line: object) -> ClipError:
    with pytest.raises(ClipError) as caught:
        fetched(server, name, **line)
    return caught.value


def planned(server: ClipServer, name: str = "v/a.mp4") -> dict[str, object]:
    """Return what planning would know of a file."""
    address = f"{server.url}/{name}"
    return place_of(address).look(address)._asdict()


def test_a_clip_is_a_file_while_it_is_decoded_and_gone_afterwards(
    server: ClipServer, tmp_path: Path
) -> None:
    with staged_file(f"{server.url}/v/a.mp4") as path:
        assert Path(path).read_bytes() == CLIP and path.endswith(".mp4")
        assert path.startswith(str(tmp_path))
        assert Path(path).parents[1].stat().st_mode & 0o777 == 0o700
    assert not Path(path).parent.exists()


@pytest.mark.parametrize(
    "quirk",
    [
        *({name: False} for name in ("ranges", "lengths", "etags", "heads", "none")),
        {"lengths": False, "etags": False, "heads": False, "ranges": False},
    ],
    ids=str,
)
def test_servers_of_all_kinds_serve(server: ClipServer, quirk: dict[str, bool]) -> None:
    for name, value in quirk.items():
        setattr(server, name, value)
    assert fetched(server, **planned(server)) == CLIP


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("cut", [0, 1, 39_999])
def test_a_cut_connection_goes_on_where_it_was(server: ClipServer, ranges: bool, cut: int) -> None:
    server.ranges = ranges
    server.answer("v/a.mp4", Answer(cut=cut))
    assert fetched(server) == CLIP
    again = server.asked[-1][2]
    assert again == (f"bytes={cut}-" if cut else None)


def test_what_gains_bytes_is_asked_for_without_an_end(server: ClipServer) -> None:
    server.always["v/a.mp4"] = Answer(cut=9_000)
    assert fetched(server) == CLIP
    assert len(server.asked) == 5


def test_a_clip_that_always_ends_too_early_is_a_failure_of_its_own(server: ClipServer) -> None:
    server.always["v/a.mp4"] = Answer(cut=0)
    error = failure(server, **{"bytes": len(CLIP)})
    assert error.reason == Reason.IO_ERROR and "ended too early" in error.detail


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_waited_for_as_it_asks(
    server: ClipServer, waits: list[float], status: int
) -> None:
    server.answer("v/a.mp4", Answer(status, {"Retry-After": "7"}), Answer(status))
    assert fetched(server) == CLIP
    assert waits == [7.0, 2.0]
    date = formatdate(time.time() + 50, usegmt=True)
    server.answer("v/a.mp4", Answer(status, {"Retry-After": date}))
    server.answer("v/a.mp4", Answer(status, {"Retry-After": "999999"}))
    server.answer("v/a.mp4", Answer(status, {"Retry-After": "soon"}))
    assert fetched(server) == CLIP
    assert 40 < waits[2] <= 50 and waits[3:] == [reach.LONGEST_WAIT_S, 4.0]


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_stays_busy_stops_the_run(server: ClipServer, status: int) -> None:
    server.always["v/a.mp4"] = Answer(status)
    with pytest.raises(InputError, match=rf"http://\S+ does not answer \(HTTP {status}"):
        fetched(server)
    assert len(server.asked) == reach.TRIES


def test_a_server_that_is_gone_stops_the_run(server: ClipServer) -> None:
    path = "http://127.0.0.1:9/a.mp4"  # nobody listens at the port "discard"
    refused = pytest.raises(
        InputError, match=r"127\.0\.0\.1:9 does not answer \(connection refused"
    )
    with refused, staged_file(path):
        pass
    server.always["v/a.mp4"] = Answer(500)
    server.always[""] = Answer(502)
    with pytest.raises(InputError, match=r"does not answer \(HTTP 500"):
        fetched(server)


@pytest.mark.parametrize(
    ("status", "reason", "detail"),
    [
        (404, Reason.MISSING, "there is no a.mp4"),
        (410, Reason.MISSING, "there is no a.mp4"),
        (500, Reason.IO_ERROR, "HTTP 500"),
        (400, Reason.IO_ERROR, "HTTP 400"),
        (451, Reason.IO_ERROR, "HTTP 451"),
        (403, Reason.IO_ERROR, "access is denied (HTTP 403)"),
    ],
)
def test_what_one_file_alone_is_answered_is_the_clips_failure(
    server: ClipServer, status: int, reason: Reason, detail: str
) -> None:
    server.always["v/a.mp4"] = Answer(status)
    error = failure(server)
    assert (error.reason, error.detail) == (reason, detail)


@pytest.mark.parametrize("status", [401, 403])
def test_a_file_that_was_seen_and_is_denied_now_lacks_credentials(
    server: ClipServer, status: int
) -> None:
    seen = planned(server)
    server.always["v/a.mp4"] = Answer(status)
    with pytest.raises(InputError, match=rf"^http://127\S+ denies access \(HTTP {status}\).*netrc"):
        fetched(server, **seen)


def test_a_file_that_is_shown_and_denied_is_its_own_failure(server: ClipServer) -> None:
    seen = planned(server)
    server.always["v/a.mp4"] = Answer(403, method="GET")
    error = failure(server, **seen)
    assert (error.reason, error.detail) == (Reason.IO_ERROR, "access is denied (HTTP 403)")


def test_credentials_come_from_netrc_and_do_not_follow_to_another_host(
    server: ClipServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hush\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    elsewhere = f"{server.url.replace('127.0.0.1', 'localhost')}/v/a.mp4"
    server.answer("v/b.mp4", Answer(302, {"Location": elsewhere}))
    assert fetched(server, "v/b.mp4") == CLIP
    assert server.credentials[0] is not None and server.credentials[1] is None


def test_redirections_are_followed_and_loops_end(server: ClipServer) -> None:
    server.answer("v/b.mp4", Answer(302, {"Location": "/v/a.mp4?signature=hush"}))
    server.files["v/a.mp4?signature=hush"] = CLIP
    assert fetched(server, "v/b.mp4") == CLIP
    server.always["v/c.mp4"] = Answer(302, {"Location": "/v/c.mp4"})
    assert failure(server, "v/c.mp4").detail == "more than 10 redirections"


def test_encryption_where_there_is_none_is_told_in_plain_words(server: ClipServer) -> None:
    address = f"{server.url.replace('http:', 'https:')}/v/a.mp4"
    told = r"it answers without encryption there: is it http://, or another port\?"
    with pytest.raises(BrokenError, match=f"^{told}$"):
        place_of(address).look(address)
    with pytest.raises(ClipError, match=told) as caught, staged_file(address):
        pass
    assert caught.value.reason == Reason.IO_ERROR


def test_what_answers_with_no_http_is_told_in_plain_words(waits: list[float]) -> None:
    class Alert(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(b"\x15\x03\x03\0\x02\x02\x32")  # a server of TLS gives it up

    with socketserver.TCPServer(("127.0.0.1", 0), Alert) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{other.server_address[1]}/a.mp4"
        with pytest.raises(InputError, match="with no HTTP: is it https://"), staged_file(address):
            pass
        other.shutdown()
    assert len(waits) == reach.TRIES - 1


def test_words_of_openssl_do_not_come_from_the_address() -> None:
    url = "with url: /certificate/a.mp4 (Caused by SSLError(SSLEOFError(8, 'EOF occurred')))"
    assert words_of_tls(OSError(url)) == ""  # which may pass
    bad = url.replace("EOF occurred", "certificate verify failed: self-signed certificate")
    assert words_of_tls(OSError(bad)) == "its certificate is not accepted"


def test_a_changed_file_is_not_taken_for_the_planned_one(server: ClipServer) -> None:
    seen = planned(server)
    server.files["v/a.mp4"] = CLIP[::-1]
    assert failure(server, **seen).detail == "it has changed since it was planned"
    server.etags = False
    server.files["v/a.mp4"] = CLIP[1:]
    assert failure(server, **seen).detail == "it has changed since it was planned"


def test_a_file_that_changes_while_it_is_fetched_is_fetched_anew(server: ClipServer) -> None:
    server.answer("v/a.mp4", Answer(cut=100), Answer(headers={"ETag": '"other"'}))
    server.etags = False
    server.answers["v/a.mp4"][0] = Answer(cut=100, headers={"ETag": '"one"'})
    assert fetched(server) == CLIP


def test_a_weak_etag_tells_nothing_and_the_time_does(server: ClipServer) -> None:
    server.etags = False
    told = Answer(headers={"ETag": 'W/"x"', "Last-Modified": "Mon, 30 Nov 2026 00:00:00 GMT"})
    server.always["v/a.mp4"] = told
    assert planned(server)["etag"] == "Mon, 30 Nov 2026 00:00:00 GMT"


def test_a_file_larger_than_a_clip_may_be_is_not_fetched(
    server: ClipServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MOST_BYTES", 10_000)
    assert failure(server).reason == Reason.TOO_LARGE
    server.lengths = False
    assert failure(server).reason == Reason.TOO_LARGE


def test_a_file_that_comes_too_slowly_is_given_up(
    server: ClipServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "LONGEST_S", -1.0)
    assert failure(server).reason == Reason.TIMEOUT


def test_names_are_escaped_on_their_way_alone(server: ClipServer) -> None:
    for name in ("a b.mp4", "50%25 & ?q=#1.mp4", "n\u00e9.mp4", "n\udce9.mp4", "a+b;c,d'(e).mp4"):
        server.files[f"v/{name}"] = name.encode(errors="surrogateescape")
        assert fetched(server, f"v/{name}") == name.encode(errors="surrogateescape")


def test_folders_are_listed_by_their_links(server: ClipServer) -> None:
    server.files |= {"v/sub/b c.mp4": b"x", "v/sub/deep/d.mp4": b"x", "w/e.mp4": b"x"}
    server.files |= {"v/.hidden.mp4": b"x"}
    found = dict(web.names(f"{server.url}/v"))
    assert set(found) == {"a.mp4", "sub/b c.mp4", "sub/deep/d.mp4"}
    server.files["plain/"] = b"no page"
    with pytest.raises(BrokenError, match="lists no files"):
        list(web.names(f"{server.url}/plain"))


def test_an_empty_file_is_the_decoders_to_refuse(server: ClipServer) -> None:
    server.files["v/e.mp4"] = b""
    assert fetched(server, "v/e.mp4") == b""
    assert place_of(server.url).look(f"{server.url}/v/e.mp4").bytes == 0


def test_looking_says_what_is_denied(server: ClipServer) -> None:
    server.always["v/a.mp4"] = Answer(401)
    with pytest.raises(DeniedError):
        web.look(f"{server.url}/v/a.mp4")
    server.always["v/a.mp4"] = Answer(headers={"X": "y"})
    assert web.look(f"{server.url}/v/a.mp4") == Version(len(CLIP), server_etag(server))


def server_etag(server: ClipServer) -> str | None:
    with web.read(f"{server.url}/v/a.mp4", 0, 1) as part:
        return part.version.etag


def test_a_picture_or_its_sound_that_is_missing_is_named(server: ClipServer) -> None:
    sound = {"audio_path": f"{server.url}/v/a.wav"}
    assert failure(server, **sound).detail == "there is no a.wav; a.mp4 is there"
    assert failure(server, "v/b.mp4", **sound).detail == "there is no b.mp4 and no a.wav"


def test_a_rejected_clip_is_not_fetched(server: ClipServer) -> None:
    error = failure(server, reject="duplicate_id", detail="x has this id", bytes=9)
    assert error.reason == Reason.DUPLICATE_ID and server.asked == []


def test_what_a_killed_process_fetched_is_swept(server: ClipServer, tmp_path: Path) -> None:
    with staged_file(f"{server.url}/v/a.mp4") as path:
        folder = Path(path).parent
        name = folder.name.split(".")
        killed = folder.with_name(".".join([*name[:-2], "999999999", name[-1]]))
        killed.mkdir()
        (killed / "path.mp4").write_bytes(CLIP)
        drafts.sweep_temporary()
        assert not killed.exists() and folder.exists()


def test_another_users_folder_is_not_written_to(
    server: ClipServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = drafts.temporary_parent()
    there.mkdir()
    monkeypatch.setattr(drafts.os, "getuid", lambda: 12345)
    there.rename(drafts.temporary_parent())
    with pytest.raises(InputError, match=r"another user's: .* TMPDIR"):
        fetched(server)


def test_a_length_of_thousands_of_digits_is_none() -> None:
    """A server may say anything; it was an internal error."""
    many = "9" * 5000
    headers = {"Content-Length": many, "Content-Range": f"bytes 0-0/{many}"}
    for status in (200, 206):
        answer = SimpleNamespace(status_code=status, headers=headers)
        assert web._version(answer) == Version(0, None)
    answer = SimpleNamespace(headers=headers, raw=SimpleNamespace(read1=lambda _: b""))
    assert list(web._chunks(answer)) == []
