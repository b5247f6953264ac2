"""`avpipe weights`, and every form of `--weights` on the commands that run networks."""

import errno
import hashlib
import json
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from avpipe.pipeline.main import main
from avpipe.pipeline.networks.weight_files import known_files
from avpipe.weights.hashes import record, record_of
from cache_factory import make_cache
from weights_server import Answer, Origin, offer, origin_running

PAGE = Path(__file__).parents[2] / "docs" / "weights.md"
NETWORK = "imagenet-resnet18"
FILE = "resnet18-f37072fd.pth"


@pytest.fixture(autouse=True)
def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVPIPE_DEVICE", "cpu")
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("avpipe.weights.download.sleep", lambda seconds: None)
    return tmp_path / "weights"


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    """Two networks: `eye` is built from two files, `ear` from one whose hash is published."""
    with origin_running() as origin:
        eye = (origin.file("eye/a.json", b"{}"), origin.file("eye/b.bin", bytes(2_500_000)))
        ear = (origin.file("ear.pth", b"heard", f"md5:{hashlib.md5(b'heard').hexdigest()}"),)
        offer(monkeypatch, {"eye": eye, "ear": ear})
        yield origin


Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return its exit code, stdout and stderr."""

    def run(words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(words.split())
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def states(out: str) -> dict[str, str]:
    document = json.loads(out)
    assert document["schema"] == "avpipe.weights/1"
    return {entry["file"]: entry["state"] for entry in document["files"]}


def test_every_teacher_and_the_trainer_find_their_files_in_the_list(run: Run) -> None:
    from avpipe.stages.teachers.protocol import MODALITIES, choices, network_of
    from avpipe.train.nets.encoders import IMAGENET, MOBILENET

    known = {entry.file.name: entry for entry in known_files()}
    networks = {name for entry in known.values() for name in entry.networks}
    assert networks == {network_of(name) for kind in MODALITIES for name in choices(kind)}
    assert known[IMAGENET.name].file == IMAGENET
    assert known[MOBILENET.name].file == MOBILENET
    code, out, _ = run("weights list")
    assert code == 0
    block = out[out.index("Cnn14_mAP=0.431.pth  missing") :].partition("\n\n")[0]
    assert block.splitlines()[1:] == [
        "  for   panns-cnn14",
        "  from  https://zenodo.org/records/3987831/files/Cnn14_mAP%3D0.431.pth?download=1",
        "  hash  md5:541141fa2ee191a88f24a3219fff024e (published)",
    ]
    assert out.count("https://") == len(known)
    assert run("weights")[1] == out


def test_what_efficientat_and_mobilenet_are_built_from_is_known() -> None:
    known = {entry.file.name: entry for entry in known_files()}
    release = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1"
    for name in ("mn04_as_mAP_432.pt", "mn10_as_mAP_471.pt", "mn40_as_ext_mAP_487.pt"):
        assert known[name].file.url == f"{release}/{name}"
        assert known[name].file.known_hash is None  # nobody published one
    both = known["mobilenet_v2-b0353104.pth"], known["mobilenet_v2-7ebf99e0.pth"]
    assert [(one.networks, one.is_other) for one in both] == [
        (("mobilenet-v2",), False),
        (("mobilenet-v2",), True),
    ]


def test_a_file_that_no_network_takes_by_itself_comes_when_it_is_named(
    origin: Origin, run: Run, monkeypatch: pytest.MonkeyPatch, weights_folder: Path
) -> None:
    offer(
        monkeypatch,
        {"eye": (origin.file("eye.pth", b"sees"),)},
        others={"eye": (origin.file("eye2.pth", b"sees more"),)},
    )
    out = run("weights list")[1]
    assert f"  for   eye, with --weights eye={weights_folder}/eye2.pth\n" in out
    for words in ("weights fetch", "weights fetch eye"):
        assert run(words)[0] == 0
    assert [name for name, _ in origin.asked] == ["eye.pth"]
    for words in ("weights verify", "weights verify eye"):
        code, out, err = run(words)
        assert (code, err) == (0, "") and "eye2" not in out
    assert run("weights verify eye2.pth")[0] == 6
    code, out, _ = run("weights fetch eye2.pth")
    assert code == 0 and "fetched" in out
    assert "eye2.pth" in run("weights verify eye")[1]


def test_fetch_then_list_then_verify(origin: Origin, run: Run, weights_folder: Path) -> None:
    code, out, _ = run("weights list --json")
    assert code == 0
    assert set(states(out).values()) == {"missing"}
    assert not weights_folder.exists()
    code, out, err = run("weights fetch")
    assert (code, err) == (0, "")
    assert [re.split(" {2,}", line) for line in out.splitlines()[2:]] == [
        ["ear.pth", "5 B", "fetched"],
        ["eye/a.json", "2 B", "fetched"],
        ["eye/b.bin", "2.5 MB", "fetched"],
    ]
    code, out, _ = run("weights fetch")
    assert code == 0
    assert "fetched" not in out
    assert len(origin.asked) == 3
    code, out, _ = run("weights list")
    assert "ear.pth  agrees, 5 B\n" in out
    assert "eye/a.json  present, 2 B\n" in out  # no network was built from it yet
    record(weights_folder / "eye/a.json", hashlib.sha256(b"{}").hexdigest())
    record(weights_folder / "eye/b.bin", hashlib.sha256(bytes(2_500_000)).hexdigest())
    out = run("weights list")[1]
    sha256 = hashlib.sha256(b"{}").hexdigest()
    assert f"  hash  sha256:{sha256} (recorded at first use)" in out
    for words in ("weights verify", "weights verify ear eye/b.bin"):
        code, out, err = run(words)
        assert (code, err, out.count("agrees")) == (0, "", 3 if words.endswith("fy") else 2)


def test_fetch_takes_networks_and_files(origin: Origin, run: Run) -> None:
    assert run("weights fetch eye/a.json")[0] == 0
    assert run("weights fetch eye")[0] == 0
    assert [name for name, _ in origin.asked] == ["eye/a.json", "eye/b.bin"]
    code, _, err = run("weights fetch nose")
    assert code == 2
    assert "'nose': one of ear, ear.pth, eye, eye/a.json, eye/b.bin" in err
    assert run("weights steal")[0] == 2


def test_one_file_that_does_not_come_keeps_no_other_back(
    origin: Origin, run: Run, weights_folder: Path
) -> None:
    origin.answers["ear.pth"] = [Answer(404)]
    code, out, err = run("weights fetch")
    assert code == 6
    assert err == (
        f"avpipe: error: ear: {weights_folder}/ear.pth could not be fetched (HTTP 404 Not Found); "
        f"get it from {origin.url}/ear.pth (md5:{hashlib.md5(b'heard').hexdigest()}), put it there "
        "or give --weights ear=PATH (--weights random is for tests and demos)\n"
    )
    assert out.count("fetched") == 2
    origin.answers["ear.pth"] = [Answer(body=b"other")]
    code, out, err = run("weights fetch --json")
    assert code == 6
    assert "ear.pth could not be fetched (what came is another file than md5:" in err
    assert states(out)["ear.pth"] == "missing"
    assert sorted(path.name for path in weights_folder.iterdir()) == ["eye"]


def test_busy_and_broken_servers_are_told_of(origin: Origin, run: Run) -> None:
    origin.answers["ear.pth"] = [Answer(429, headers={"Retry-After": "9"}), Answer(503)]
    origin.answers["eye/a.json"] = [Answer(cut=1)]
    code, _, err = run("weights fetch ear eye/a.json")
    assert code == 0
    assert "avpipe: ear.pth: HTTP 429 Too Many Requests; trying again in 9 s\n" in err
    assert "avpipe: ear.pth: HTTP 503 Service Unavailable; trying again in 2 s\n" in err
    assert re.search(r"avpipe: a\.json: .*; trying again in 1 s\n", err)


def test_nothing_comes_at_all(origin: Origin, run: Run) -> None:
    origin.files.clear()
    code, out, err = run("weights fetch")
    assert code == 6
    assert err.splitlines() == [
        "avpipe: could not be fetched (HTTP 404 Not Found): ear.pth, eye/a.json, eye/b.bin",
        "avpipe: error: 3 files cannot be used; `avpipe weights fetch ear eye` gets them where "
        "there is a network, `avpipe weights list` says where from and where to",
    ]
    assert out.count("missing") == 3


def test_a_damaged_record_is_told_by_every_action(
    origin: Origin, run: Run, weights_folder: Path
) -> None:
    run("weights fetch")
    record_of(weights_folder / "eye/a.json").write_bytes(b"")
    told = (
        "eye/a.json has a damaged record, a.json.sha256; remove a.json.sha256 if the file is "
        "right, or both to have it fetched again"
    )
    for action in ("verify", "fetch", "verify eye"):
        code, out, err = run(f"weights {action} --json")
        assert code == 6
        assert told in err and err.count("avpipe: error:") == 1
        assert states(out)["eye/a.json"] == "unknown"
    code, out, _ = run("weights list")
    assert code == 0
    assert "eye/a.json  unknown, 2 B" in out
    (weights_folder / "eye/a.json").unlink()
    code, _, err = run("weights verify")
    assert code == 6
    assert (
        "a.json is not there, and its record a.json.sha256 is damaged; remove a.json.sha256" in err
    )


def test_verify_names_each_bad_file(origin: Origin, run: Run, weights_folder: Path) -> None:
    run("weights fetch")
    (weights_folder / "ear.pth").write_bytes(b"HEARD")
    code, out, err = run("weights verify")
    assert code == 6
    assert err.startswith(f"avpipe: error: ear: {weights_folder}/ear.pth is another file than md5:")
    assert "remove it to have it fetched again; get it from" in err
    assert re.search(r"ear\.pth +5 B +differs", out)
    for name in ("eye/a.json", "eye/b.bin"):
        record(weights_folder / name, hashlib.sha256(origin.files[name]).hexdigest())
    (weights_folder / "eye/a.json").write_bytes(b"[]")
    code, out, err = run("weights verify --json")
    assert code == 6
    assert "a.json.sha256 if this one is right" in err
    assert [line.split()[1] for line in err.splitlines()] == ["ear.pth", "eye/a.json", "error:"]
    assert states(out) == {"ear.pth": "differs", "eye/a.json": "differs", "eye/b.bin": "agrees"}
    code, out, _ = run("weights list")
    assert code == 0
    assert "ear.pth  differs, 5 B" in out
    assert run("weights fetch ear")[0] == 6  # what lies there is not thrown away


def test_verify_of_what_is_not_there(origin: Origin, run: Run, weights_folder: Path) -> None:
    code, out, _ = run("weights verify")
    assert (code, out) == (0, f"{weights_folder} holds no pretrained file\n")
    code, _, err = run("weights verify ear")
    assert code == 6
    assert f"{weights_folder}/ear.pth is not there; get it from {origin.url}/ear.pth" in err
    weights_folder.mkdir()
    (weights_folder / "ear.pth").write_bytes(b"heard")
    assert run("weights verify ear")[0] == 0
    assert origin.asked == []


def test_hand_filled_files_have_no_hash_before_their_first_use(
    origin: Origin, run: Run, weights_folder: Path
) -> None:
    (weights_folder / "eye").mkdir(parents=True)
    (weights_folder / "eye/a.json").write_bytes(b"by hand")
    code, out, _ = run("weights verify")
    assert code == 0
    assert re.search(r"a\.json +7 B +present", out)
    assert "hash  not known, recorded at first use" in run("weights list")[1]
    assert [path.name for path in weights_folder.rglob("*.sha256")] == []
    assert run("weights fetch eye/a.json")[0] == 0
    assert states(run("weights verify --json")[1]) == {"eye/a.json": "present"}
    assert origin.asked == []


@pytest.mark.usefixtures("one_thread")
def test_only_a_file_that_loads_is_remembered(
    origin: Origin,
    released: Path,
    run: Run,
    tmp_path: Path,
    weights_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch
    from avpipe.stages.teachers.visual import imagenet_resnet18 as teacher

    make_cache(tmp_path / "avcache", 3)
    monkeypatch.setattr(teacher, "FILES", (origin.file(FILE, released.read_bytes()),))
    state = torch.load(released)
    state["conv1.weight"][0] = torch.nan
    torch.save(state, tmp_path / "nan.pth")
    weights_folder.mkdir()
    bad = [b"<html>log in</html>", b"", released.read_bytes()[:-100]]
    for content in (*bad, (tmp_path / "nan.pth").read_bytes()):
        (weights_folder / FILE).write_bytes(content)
        code, _, err = run(f"knn --image {NETWORK} --audio none --k 1")
        assert code == 6
        assert f"{weights_folder / FILE}: " in err
        assert [path.name for path in weights_folder.iterdir()] == [FILE]
    assert "not finite" in err
    (weights_folder / FILE).write_bytes(released.read_bytes())
    assert run(f"knn --image {NETWORK} --audio none --k 1")[0] == 0
    assert (weights_folder / f"{FILE}.sha256").read_text().split()[1] == FILE
    assert run("weights verify")[0] == 0


@pytest.mark.parametrize("command", ["embed-teachers --objects", "knn --image detr-r50"])
def test_every_missing_file_of_a_run_is_named_before_anything_runs(
    command: str, run: Run, tmp_path: Path
) -> None:
    from avpipe.stages.teachers.audio import panns_wavegram
    from avpipe.stages.teachers.nets.detr import FILES

    make_cache(tmp_path / "avcache", 3)
    command += " --audio panns-wavegram --weights"
    code, _, err = run(f"{command} {tmp_path}")
    assert (code, err.count("\n")) == (6, 1)
    for file in (*FILES, *panns_wavegram.FILES):
        assert f"{tmp_path / file.name}" in err.partition(": not there: ")[2]
    assert sorted(path.name for path in (tmp_path / "avcache").iterdir()).count("hints") == 0
    for spec in ("=a.pth", "detr-r50=", "randm"):
        code, _, err = run(f"{command} {spec}")
        assert (code, err.count("\n")) == (2, 1)


def test_a_folder_of_weights_that_cannot_be_one(
    origin: Origin, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good.pth").write_bytes(b"good")
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "good.pth"))
    for action in ("list", "fetch", "verify"):
        code, _, err = run(f"weights {action}")
        assert (code, err.count("\n")) == (2, 1)
        assert f"AVPIPE_WEIGHTS_DIR is {tmp_path}/good.pth, a file" in err

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setattr("avpipe.weights.download.os.open", refuse)
    code, _, err = run("weights fetch")
    assert (code, err.count("\n")) == (7, 1)
    assert "ear.pth is not there and cannot be put there: Permission denied" in err


def test_a_killed_download_leaves_no_file_and_the_next_run_finishes_it(
    origin: Origin, weights_folder: Path
) -> None:
    (file,) = (known.file for known in known_files(["ear"]))
    origin.files["ear.pth"] = b"heard"
    gate = threading.Event()
    origin.answers["ear.pth"] = [Answer(wait=gate)]
    program = (
        "import avpipe.weights.transfer as transfer; transfer.BLOCK = 1\n"
        "from avpipe.weights import WeightFile, fetch\n"
        f"fetch('ear', {file!r})\n"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        draft = weights_folder / ".ear.pth.part"
        until = time.monotonic() + 300
        while not (draft.exists() and draft.stat().st_size == 2) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    gate.set()
    assert [path.name for path in weights_folder.iterdir()] == [".ear.pth.part"]
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
    assert [path.name for path in weights_folder.iterdir()] == ["ear.pth"]
    assert origin.asked[-1] == ("ear.pth", "bytes=2-")


def test_no_torch_and_no_pooch_to_list_and_verify(tmp_path: Path) -> None:
    for words in (["weights"], ["weights", "verify"]):
        program = (
            "import sys\nfrom avpipe.pipeline.main import main\n"
            f"assert main({words!r}) == 0\n"
            "sys.exit(str({'torch', 'torchvision', 'transformers', 'pooch'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.stderr.strip() == "set()"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the released form, in a folder of its own."""
    import torch
    from avpipe.stages.teachers.nets.resnet18 import pooled_resnet18

    path = tmp_path_factory.mktemp("released") / FILE
    torch.save(pooled_resnet18(3, 0).state_dict(), path)
    return path


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "command",
    [
        f"embed-teachers --visual {NETWORK} --audio none --json",
        f"knn --image {NETWORK} --audio none --k 1 --json",
    ],
)
def test_every_form_of_weights(
    command: str,
    released: Path,
    origin: Origin,
    run: Run,
    tmp_path: Path,
    weights_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from avpipe.stages.teachers.visual import imagenet_resnet18 as teacher

    make_cache(tmp_path / "avcache", 3)
    monkeypatch.setattr(teacher, "FILES", (origin.file(FILE, released.read_bytes()),))
    digest = hashlib.sha256(released.read_bytes()).hexdigest()

    def found(options: str) -> Any:
        code, out, err = run(f"{command} --overwrite {options}")
        assert code == 0, err
        (weights,) = json.loads(out)["weights"].values()
        return weights, err

    assert found("--weights random")[0] == "random:0"
    assert found(f"--weights random --weights {NETWORK}={released}")[0] == digest
    assert found(f"--weights {released.parent}")[0] == digest
    assert found(f"--weights {NETWORK}={released.parent}")[0] == digest
    assert origin.asked == []
    weights, err = found("")
    assert weights == digest
    assert f"avpipe: fetching {FILE}: 0 B of {released.stat().st_size / 1e6:.1f} MB\n" in err
    assert found("--weights pretrained")[0] == digest
    assert len(origin.asked) == 1

    for spec, place in (
        (str(tmp_path), tmp_path / FILE),
        (f"{NETWORK}={tmp_path}", tmp_path / FILE),
        (f"{NETWORK}=/no/such.pth", Path("/no/such.pth")),
    ):
        code, _, err = run(f"{command} --weights {spec}")
        assert code == 6
        assert err.count("\n") == 1
        wanted = f"{NETWORK}: {place} is not there; get it from {origin.url}/{FILE} (hash not known"
        assert wanted in err
    (weights_folder / FILE).unlink()
    origin.files.clear()
    code, _, err = run(command)
    assert code == 6
    assert f"{weights_folder / FILE} could not be fetched (HTTP 404 Not Found)" in err
    code, _, err = run(f"{command} --weights panns-cnn14=x")
    assert code == 2
    assert "this run has no panns-cnn14" in err


def test_the_commands_of_the_page(origin: Origin, run: Run, tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    lines = re.findall(r"(?m)^\$ (.+)$", text)
    assert len(lines) >= 4
    networks = {"detr-r50": "eye", "panns-wavegram": "ear"}
    for line in lines:
        words = shlex.split(line, comments=True)
        assert words[0] == "avpipe"
        code, _, err = run(" ".join(networks.get(word, word) for word in words[1:]))
        assert code == 0, (line, err)
