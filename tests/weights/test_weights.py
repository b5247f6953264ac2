"""Where weights come from, and that nothing but tensors of the right names and shapes gets in."""

import dataclasses
import errno
import hashlib
import os
import pickle
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from avpipe.errors import CacheUnwritableError, MissingDependencyError, UsageError
from avpipe.weights import (
    WeightFile,
    Weights,
    absolute_specs,
    check_specs,
    file_digest,
    listening,
    load_exact,
    look,
    read_checkpoint,
    remember,
    require,
    resolve,
    section,
)
from avpipe.weights.hashes import DamagedRecordError, record, record_of, recorded
from safetensors.torch import save_file
from weights_server import Answer, Origin, origin_running

FILE = WeightFile("net_mAP=0.4.pth", "http://127.0.0.1:9/net_mAP=0.4.pth", "md5:" + "0" * 32)


@pytest.fixture(autouse=True)
def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "weights"
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(folder))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("avpipe.weights.transfer.BLOCK", 2)  # what is lost where a download breaks
    return folder


@pytest.fixture
def origin() -> Iterator[Origin]:
    with origin_running() as origin:
        yield origin


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the waits between tries instead of waiting."""
    found: list[float] = []
    monkeypatch.setattr("avpipe.weights.download.sleep", found.append)
    return found


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_random_weights_are_stamped_with_their_seed() -> None:
    assert resolve("net", (FILE,), ["random"]).digest == "random:0"
    assert resolve("net", (FILE,), ["random"], seed=3).seed == 3
    assert resolve("net", (FILE,), ["net=random", "pretrained"]).digest == "random:0"


def test_a_file_or_folder_that_the_user_names(tmp_path: Path) -> None:
    folder = tmp_path / "a=b"
    folder.mkdir()
    path = folder / FILE.name
    path.write_bytes(b"weights" * 1000)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    for specs in ([f"net={path}"], [str(folder)], ["random", f"net={folder}"]):
        found = resolve("net", (FILE,), specs)
        assert found.paths == (path,)
        assert found.digest == expected
    assert resolve("other", (FILE,), ["random", f"net={folder}"]).digest == "random:0"


def test_the_digest_of_several_files_depends_on_each(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1")
    b.write_bytes(b"2")
    before = file_digest([a, b])
    b.write_bytes(b"3")
    assert len({before, file_digest([a, b]), file_digest([a]), file_digest([b])}) == 4


def test_a_missing_file_says_what_to_do(tmp_path: Path, weights_folder: Path) -> None:
    for specs, place in (
        (["pretrained"], weights_folder / FILE.name),
        ([str(tmp_path)], tmp_path / FILE.name),
        (["net=/no/such.pth"], Path("/no/such.pth")),
    ):
        with pytest.raises(MissingDependencyError) as caught:
            resolve("net", (FILE,), specs)
        message = str(caught.value)
        assert caught.value.exit_code == 6
        assert "\n" not in message
        for part in ("net", str(place), FILE.url, str(FILE.known_hash)):
            assert part in message
        assert ("put it there" in message) == (specs == ["pretrained"])


def test_a_name_that_is_not_of_this_run_is_refused() -> None:
    check_specs(["random", "net=x.pth", "/a=b/c"], ["net"])
    with pytest.raises(UsageError, match=r"nett=x\.pth.*net"):
        check_specs(["nett=x.pth"], ["net"])


def test_a_process_in_another_folder_finds_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(home))
    given = ("detr-r50=w/a=1.pth", "~/all", "pretrained", "panns-cnn14=random", "/w/x.pt")
    assert absolute_specs(given) == (
        f"detr-r50={tmp_path}/w/a=1.pth", f"{home}/all", "pretrained", "panns-cnn14=random",
        "/w/x.pt",
    )  # fmt: skip


def test_a_folder_that_lacks_one_of_two_files(tmp_path: Path) -> None:
    files = (WeightFile("net/a.json", "http://h/a"), WeightFile("net/b.bin", "http://h/b"))
    (tmp_path / "net").mkdir()
    (tmp_path / "net/a.json").write_bytes(b"{}")
    for place in (tmp_path, tmp_path / "net"):
        with pytest.raises(MissingDependencyError) as caught:
            resolve("net", files, [f"net={place}"])
        assert "b.bin is not there; get it from http://h/b (hash not known" in str(caught.value)
    with pytest.raises(MissingDependencyError, match=r"a\.json is one file; net takes a folder wi"):
        resolve("net", files, [f"net={tmp_path}/net/a.json"])
    (tmp_path / "net/b.bin").write_bytes(b"b")
    for place in (tmp_path, tmp_path / "net"):
        paths = (tmp_path / "net/a.json", tmp_path / "net/b.bin")
        assert resolve("net", files, [f"net={place}"]).paths == paths


def test_a_download_is_kept_and_its_hash_remembered(origin: Origin, weights_folder: Path) -> None:
    file = origin.file("sub/new.pth", b"first")
    sha256 = hashlib.sha256(b"first").hexdigest()
    weights = resolve("net", (file,))
    assert weights.digest == sha256
    assert names_in(weights_folder) == ["sub/new.pth"]  # it may be no network's yet
    remember(weights)
    assert names_in(weights_folder) == ["sub/new.pth", "sub/new.pth.sha256"]
    assert (weights_folder / "sub/new.pth.sha256").read_text() == f"{sha256}  new.pth\n"
    assert resolve("net", (file,)) == Weights((weights_folder / "sub/new.pth",), sha256)
    assert len(origin.asked) == 1  # no second download
    (weights_folder / "sub/new.pth").write_bytes(b"other")
    with pytest.raises(MissingDependencyError, match=f"another file than sha256:{sha256}.*256 if"):
        resolve("net", (file,))
    (weights_folder / "sub/new.pth").unlink()
    origin.files["sub/new.pth"] = b"changed there"
    with pytest.raises(MissingDependencyError, match="what came is another file than sha256:"):
        resolve("net", (file,))


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\n", b"a", b"  new.pth\n", b"a7937b64b8caa58f", b"\xff" * 64, b"0" * 63 + b"g\n",
        b"0" * 63, b"0" * 65, b"0" * 64 + b"x", b"sha256:" + b"0" * 64,
        b"0" * 64 + b"\n" + b"0" * 64,
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_there", [True, False])
def test_a_record_that_is_damaged_vouches_for_nothing(
    text: bytes, is_there: bool, origin: Origin, weights_folder: Path
) -> None:
    file = origin.file("sub/new.pth", b"first")
    (path,) = resolve("net", (file,)).paths
    written = path.with_name("new.pth.sha256")
    if not is_there:
        path.unlink()
    written.write_bytes(text)
    assert look(file).state == ("unknown" if is_there else "missing")
    with pytest.raises(
        MissingDependencyError, match=r"new\.pth.*remove new\.pth\.sha256"
    ) as caught:
        resolve("net", (file,))
    assert caught.value.exit_code == 6 and "\n" not in str(caught.value)
    assert len(origin.asked) == 1  # nothing is fetched that could not be told from another file
    written.unlink()
    assert resolve("net", (file,)).paths == (path,)


def test_records_that_other_programs_write_are_read(tmp_path: Path) -> None:
    path, digits = tmp_path / "a.pth", hashlib.sha256(b"a").hexdigest()
    path.write_bytes(b"a")
    for text in (f"{digits}  x/a.pth\n", f"{digits} *a.pth\r\n", digits, f"{digits.upper()}\n"):
        record_of(path).write_text(text)
        assert recorded(path) == f"sha256:{digits}"
    if program := shutil.which("sha256sum"):
        record_of(path).write_bytes(subprocess.check_output([program, "a.pth"], cwd=tmp_path))
        assert recorded(path) == f"sha256:{digits}"
        record(path, digits)
        subprocess.run([program, "--quiet", "-c", "a.pth.sha256"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_no_record(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(record_of(tmp_path / "a.pth"))
    with pytest.raises(DamagedRecordError):
        recorded(tmp_path / "a.pth")


def test_a_record_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "a.pth", list[int]()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_mode))
    record(path, "0" * 64)
    assert [stat.S_ISDIR(mode) for mode in synced] == [True, False, True]  # the folder's own name
    record_of(path).unlink()

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    record(path, "0" * 64)  # no harm: it is written at the next use
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_published_hash_leaves_nothing(origin: Origin, weights_folder: Path) -> None:
    file = origin.file("net.pth", b"not it", md5(b"it"))
    with pytest.raises(MissingDependencyError, match=r"could not be fetched .what came is ano"):
        resolve("net", (file,))
    assert len(origin.asked) == 1  # the same again would be no better
    assert names_in(weights_folder) == []
    origin.files["net.pth"] = b"it"
    resolve("net", (file,))
    (weights_folder / "net.pth").write_bytes(b"not it")
    with pytest.raises(MissingDependencyError, match="another file than md5:"):
        resolve("net", (file,))
    assert names_in(weights_folder) == ["net.pth"]  # a published hash needs no record


def test_files_put_there_by_hand_need_no_network(
    weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", None)
    files = (FILE, WeightFile("b.pth", "http://127.0.0.1:9/b.pth"))
    files = (dataclasses.replace(FILE, known_hash=md5(b"a")), files[1])
    weights_folder.mkdir()
    (weights_folder / FILE.name).write_bytes(b"a")
    (weights_folder / "b.pth").write_bytes(b"b")
    for _ in range(2):
        weights = resolve("net", files)
        assert weights.paths == tuple(weights_folder / file.name for file in files)
        remember(weights)
    assert (weights_folder / "b.pth.sha256").exists()


def test_a_folder_that_may_not_be_written_serves(
    weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights_folder.mkdir()
    (weights_folder / "b.pth").write_bytes(b"b")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    remember(resolve("net", (WeightFile("b.pth", "http://127.0.0.1:9/b.pth"),)))
    monkeypatch.setattr("avpipe.weights.download.os.open", refuse)
    with pytest.raises(
        CacheUnwritableError, match=r"cannot be put there: Permission denied;.*/net"
    ):
        resolve("net", (FILE,))


def test_a_folder_of_weights_that_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "good.pth"
    place.write_bytes(b"good")
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(place))
    with pytest.raises(UsageError, match=rf"AVPIPE_WEIGHTS_DIR is {place}, a file"):
        resolve("net", (FILE,))
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(place / "below"))
    with pytest.raises(CacheUnwritableError, match="Not a directory"):
        resolve("net", (dataclasses.replace(FILE, known_hash=None),))


def test_how_a_published_hash_begins_is_compared(origin: Origin, weights_folder: Path) -> None:
    begins = f"sha256:{hashlib.sha256(b'it').hexdigest()[:8]}"
    file = origin.file("net.pth", b"not it", begins)
    with pytest.raises(MissingDependencyError, match=f"another file than {begins}"):
        resolve("net", (file,))
    origin.files["net.pth"] = b"it"
    assert resolve("net", (file,)).unknown == ()
    (weights_folder / "net.pth").write_bytes(b"not it")
    with pytest.raises(MissingDependencyError, match=f"is another file than {begins}; remove it"):
        resolve("net", (file,))


def test_all_that_does_not_come_is_told_at_once(
    origin: Origin, weights_folder: Path, tmp_path: Path
) -> None:
    eye = (origin.file("eye/a.json", b"a"), origin.file("eye/b.bin", b"b", None, Answer(404)))
    ear = (origin.file("ear.pth", b"c", None, Answer(404)),)
    nose = (origin.file("nose.pth", b"d"),)
    networks = {"eye": eye, "ear": ear, "nose": nose}
    with pytest.raises(MissingDependencyError) as caught:
        require(networks, ["pretrained", f"nose={tmp_path}"])
    told = str(caught.value)
    assert "\n" not in told
    assert told == (
        "could not be fetched (HTTP 404 Not Found): eye/b.bin, ear.pth; "
        f"{tmp_path}/nose.pth is not there; "
        "`avpipe weights fetch eye ear nose` gets them where there is a network, "
        "`avpipe weights list` says where from and where to, or give --weights NAME=FILE for each "
        "(--weights random is for tests and demos)"
    )
    assert "a.json" not in told
    assert names_in(weights_folder) == ["eye/a.json"]
    require(networks, ["pretrained", "nose=random"])
    assert names_in(weights_folder) == ["ear.pth", "eye/a.json", "eye/b.bin"]
    with pytest.raises(MissingDependencyError, match=r"could .*: x/eye/a\.json, x/eye/b\.bin;"):
        resolve("dog", [dataclasses.replace(file, name=f"x/{file.name}", url=FILE.url)
                        for file in eye])  # fmt: skip


def test_a_host_that_nobody_knows_is_given_up_on_at_once(waits: list[float]) -> None:
    file = WeightFile("a.pth", "https://no-such-host.invalid/a.pth")
    with pytest.raises(
        MissingDependencyError, match=r"fetched \(no network, or no such host\); get"
    ):
        resolve("net", (file,))
    assert waits == []


def test_without_a_network_it_is_said_once() -> None:
    files = [WeightFile(f"{n}.pth", f"https://no-such-host-{n}.invalid/{n}.pth") for n in range(4)]
    with pytest.raises(MissingDependencyError) as caught:
        require({"eye": files[:2], "ear": files[2:]}, ["pretrained"])
    told = str(caught.value)
    assert told.startswith("could not be fetched (no network, or no such host): 0.pth, 1.pth, ")
    assert "`avpipe weights fetch eye ear`" in told
    assert len(told) < 300


@pytest.mark.parametrize(
    "spec", ["=good.pth", "randm", "", "net=", "net=randm", "Net=a.pth", "net=https://host/a.pth"]
)
def test_a_spec_that_speaks_of_nothing_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match=f"--weights {spec}: ") as caught:
        check_specs(["random", spec], ["net"])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "first",
    [Answer(429), Answer(503), Answer(500), Answer(cut=600)],
    ids=lambda answer: f"{answer.status} {answer.cut}",
)
def test_what_may_pass_is_tried_again(
    first: Answer, known: bool, origin: Origin, weights_folder: Path, waits: list[float]
) -> None:
    content = bytes(range(256)) * 4
    file = origin.file("a.pth", content, md5(content) if known else None, first, first)
    told: list[str] = []
    with listening(lambda name, present, wanted, note="": told.append(note)):
        weights = resolve("net", (file,))
    assert weights.paths[0].read_bytes() == content
    assert weights.unknown == (() if known else weights.paths)
    assert names_in(weights_folder) == ["a.pth"]
    spans = [span for _, span in origin.asked]
    if first.cut and known:  # the rest was asked for, and no more
        assert spans == [None, "bytes=600-"]
        assert waits == [1]
    else:
        assert spans == [None] * 3
        assert waits == [1, 2]
    assert [note for note in told if note.endswith("trying again in 1 s")]


def test_tries_that_bring_something_are_not_counted(origin: Origin, waits: list[float]) -> None:
    content = bytes(1000)
    file = origin.file("a.pth", content, md5(content), *[Answer(cut=100)] * 9)
    resolve("net", (file,))
    assert waits == [1] * 9
    assert [span for _, span in origin.asked][-1] == "bytes=900-"


def test_it_gives_up_at_last_and_goes_on_another_day(
    origin: Origin, weights_folder: Path, waits: list[float]
) -> None:
    content = b"0123456789"
    file = origin.file("a.pth", content, md5(content), Answer(cut=4), *[Answer(502)] * 4)
    with pytest.raises(MissingDependencyError, match=r"could not be fetched .HTTP 502 Bad Gateway"):
        resolve("net", (file,))
    assert waits == [1, 2, 4]
    assert names_in(weights_folder) == [".a.pth.part"]
    origin.asked.clear()
    origin.answers.clear()
    resolve("net", (file,))
    assert origin.asked == [("a.pth", "bytes=4-")]
    assert names_in(weights_folder) == ["a.pth"]


@pytest.mark.parametrize(
    ("answers", "spans"),
    [
        ([Answer(cut=4), Answer(ranges=False)], [None, "bytes=4-"]),  # a server without parts
        ([Answer(cut=4, body=b"x" * 10)], [None, "bytes=4-", None]),  # a piece of another file
        ([Answer(cut=4), Answer(416)], [None, "bytes=4-", None]),
    ],
)
def test_pieces_that_do_not_fit(
    answers: list[Answer], spans: list[str | None], origin: Origin
) -> None:
    content = b"0123456789"
    file = origin.file("a.pth", content, md5(content), *answers)
    (path,) = resolve("net", (file,)).paths
    assert path.read_bytes() == content
    assert [span for _, span in origin.asked] == spans


@pytest.mark.parametrize("answer", [Answer(404), Answer(403), Answer(410)])
def test_an_answer_is_not_asked_for_again(
    answer: Answer, origin: Origin, weights_folder: Path, waits: list[float]
) -> None:
    file = origin.file("a.pth", b"a", None, answer)
    with pytest.raises(
        MissingDependencyError, match=rf"could not be fetched .HTTP {answer.status}"
    ):
        resolve("net", (file,))
    assert len(origin.asked) == 1
    assert waits == []
    assert names_in(weights_folder) == []


def test_the_server_says_how_long_to_wait(origin: Origin, waits: list[float]) -> None:
    def busy(seconds: str) -> Answer:
        return Answer(429, headers={"Retry-After": seconds})

    resolve("net", (origin.file("a.pth", b"a", None, busy("7"), busy("9999"), busy("soon")),))
    assert waits == [7, 60, 4]


def test_a_web_page_is_no_file(origin: Origin, weights_folder: Path) -> None:
    page = Answer(body=b"<html>log in", headers={"Content-Type": "text/html; charset=utf-8"})
    with pytest.raises(MissingDependencyError, match="a web page came instead"):
        resolve("net", (origin.file("a.pth", b"a", None, page),))
    assert names_in(weights_folder) == []


def test_nobody_listens(waits: list[float], weights_folder: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"could not be fetched .*Connection refused"):
        resolve("net", (FILE,))
    assert waits == [1, 2, 4]
    assert names_in(weights_folder) == []


def test_a_server_without_encryption_is_told_in_plain_words_and_asked_once(
    origin: Origin, waits: list[float], weights_folder: Path
) -> None:
    file = origin.file("a.pth", b"a")
    file = dataclasses.replace(file, url=file.url.replace("http:", "https:"))
    told = "could not be fetched .*it answers without encryption there: is it http://"
    with pytest.raises(MissingDependencyError, match=told):
        resolve("net", (file,))
    assert waits == [] and names_in(weights_folder) == []


def test_a_server_that_stops_talking(
    origin: Origin, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setattr("avpipe.weights.transfer.TIMEOUT_S", 0.1)
    never = threading.Event()
    file = origin.file("a.pth", bytes(100), md5(bytes(100)), Answer(wait=never))
    resolve("net", (file,))
    never.set()
    assert origin.asked == [("a.pth", None), ("a.pth", "bytes=50-")]
    assert waits == [1]


def test_an_interrupted_download_leaves_no_file_of_that_name(
    origin: Origin, weights_folder: Path
) -> None:
    content = bytes(range(100))
    for known, left in ((md5(content), [".a.pth.part"]), (None, [])):
        file = origin.file("a.pth", content, known, Answer(cut=50))

        def interrupt(name: str, present: int, wanted: int, note: str = "") -> None:
            if note:
                raise KeyboardInterrupt

        with listening(interrupt), pytest.raises(KeyboardInterrupt):
            resolve("net", (file,))
        assert names_in(weights_folder) == left
        (path,) = resolve("net", (file,)).paths
        assert path.read_bytes() == content
        path.unlink()


def test_where_there_are_no_locks_a_file_is_fetched_and_it_is_said(
    origin: Origin, weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", flock)
    file, told = origin.file("a.pth", b"whole", md5(b"whole"), Answer()), []
    with listening(lambda name, present, wanted, note="": told.append(note)):
        assert resolve("net", (file,)).paths[0].read_bytes() == b"whole"
    assert "no locks in its folder: let no other process fetch it meanwhile" in told


@pytest.mark.parametrize("fails", [False, True])
def test_two_at_once_fetch_one_file_once(fails: bool, origin: Origin, weights_folder: Path) -> None:
    """Two threads hold two locks on the draft, as two processes would; one may fail."""
    content, gate = bytes(range(100)), threading.Event()
    answers = [Answer(wait=gate, cut=60), Answer(404)] if fails else [Answer(wait=gate)]
    file = origin.file("a.pth", content, None, *answers)

    def run() -> Path | None:
        def tell(name: str, present: int, wanted: int, note: str = "") -> None:
            if "another process" in note:
                gate.set()

        with listening(tell):
            try:
                return resolve("net", (file,)).paths[0]
            except MissingDependencyError:
                return None

    with ThreadPoolExecutor(2) as pool:
        paths = [job.result(20) for job in [pool.submit(run) for _ in range(2)]]
    assert gate.is_set()
    assert paths.count(None) == fails
    assert len(origin.asked) == (3 if fails else 1)
    assert (weights_folder / "a.pth").read_bytes() == content
    assert names_in(weights_folder) == ["a.pth"]


def test_a_full_disk_is_told_and_resumes(
    origin: Origin, weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(100))
    file = origin.file("a.pth", content, md5(content))
    write = os.write

    def full(fd: int, block: bytes) -> int:
        if os.fstat(fd).st_size >= 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, bytes(block)[:40])

    with monkeypatch.context() as patch, pytest.raises(CacheUnwritableError, match="No space left"):
        patch.setattr("avpipe.weights.transfer.os.write", full)
        resolve("net", (file,))
    assert names_in(weights_folder) == [".a.pth.part"]
    resolve("net", (file,))
    assert origin.asked[-1] == ("a.pth", "bytes=40-")


class _Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_payload_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"model": {"w": torch.ones(1)}, "extra": _Payload(trace)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(_Payload(trace)))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(MissingDependencyError, match=rf"{name}: (holds more|cannot be read)"):
            read_checkpoint(tmp_path / name)
    assert not trace.exists()


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pth"
    torch.save({"w": torch.ones(1000)}, whole)
    for name, content, why in (
        ("cut.pth", whole.read_bytes()[:2000], r"damaged or incomplete \(PytorchStreamReader"),
        ("cut.safetensors", b"\x10" + bytes(7) + b"{", "damaged or incomplete"),
        ("empty.pth", b"", "is empty"),
        ("page.pth", b"\n<html>404</html>", "is a web page"),
        ("page.safetensors", b"<html>404</html>", "is a web page"),
        ("four.pth", pickle.dumps({"w": Path("x")}, protocol=4), "holds more than tensors"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MissingDependencyError, match=f"{name}: .*{why}") as caught:
            read_checkpoint(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert "If you are" not in str(caught.value)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(MissingDependencyError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pth")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
        RuntimeError(f"a reader's words: {os.strerror(errno.EIO)}"),
    ],
)
def test_a_file_that_is_refused_now_is_not_called_damaged(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pth"
    torch.save({"w": torch.ones(1)}, path)

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(OSError, match=r"Input/output error|Too many open files") as caught:
        read_checkpoint(path)
    assert caught.value.filename == str(path)


def test_arrays_beside_the_model_are_plain_data(tmp_path: Path) -> None:
    sampler = {"indexes": np.arange(5), "pointer": np.int64(3), "share": np.float64(0.5)}
    for legacy in (False, True):
        torch.save(
            {"model": {"w": torch.ones(2)}, "sampler": sampler},
            tmp_path / "net.pth",
            _use_new_zipfile_serialization=not legacy,
        )
        found = read_checkpoint(tmp_path / "net.pth")
        assert section(found, "model", tmp_path)["w"].tolist() == [1, 1]
    with pytest.raises(MissingDependencyError, match=r"has no 'state' .it has model, sampler"):
        section(found, "state", tmp_path)


def test_names_and_shapes_must_be_exact(tmp_path: Path) -> None:
    def net() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))

    path = tmp_path / "net.safetensors"
    state = net().state_dict()
    save_file({**state, "fc.weight": torch.ones(1)}, path)
    state = read_checkpoint(path)
    target = net()
    load_exact(target, state, path, ignore=("fc.",))
    assert torch.equal(target.state_dict()["0.weight"], state["0.weight"])
    with pytest.raises(MissingDependencyError, match=r"has unknown fc\.weight"):
        load_exact(net(), state, path)
    del state["fc.weight"]
    load_exact(net(), {n: v for n, v in state.items() if "num_batches" not in n}, path)
    with pytest.raises(MissingDependencyError, match=r"lacks 0\.weight; has unknown 0\.wait"):
        renamed = {n.replace("0.weight", "0.wait"): v for n, v in state.items()}
        load_exact(net(), renamed, path)
    with pytest.raises(MissingDependencyError, match=r"0\.weight \(3, 3\) instead of \(2, 1, 3"):
        load_exact(net(), {**state, "0.weight": torch.ones(3, 3)}, path)
    bad = state["0.weight"].clone()
    bad[0, 0, 1, 1] = torch.nan
    with pytest.raises(MissingDependencyError, match=r"values that are not finite in 0\.weight"):
        load_exact(net(), {**state, "0.weight": bad}, path)
