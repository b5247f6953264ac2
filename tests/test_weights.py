"""Where weights come from, and that nothing but tensors of the right names and shapes gets in."""

import functools
import hashlib
import pickle
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from avpipe.errors import MissingDependencyError, UsageError
from avpipe.weights import (
    WeightFile,
    check_specs,
    file_digest,
    load_exact,
    read_checkpoint,
    resolve,
    section,
)
from safetensors.torch import save_file

FILE = WeightFile("net_mAP=0.4.pth", "http://127.0.0.1:9/net_mAP=0.4.pth", "md5:" + "0" * 32)


@pytest.fixture(autouse=True)
def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "weights"
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(folder))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    return folder


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "origin"
    folder.mkdir()
    handler = functools.partial(_Silent, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", folder
        http.shutdown()


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


def test_a_name_that_is_not_of_this_run_is_refused() -> None:
    check_specs(["random", "net=x.pth", "/a=b/c"], ["net"])
    with pytest.raises(UsageError, match=r"nett=x\.pth.*net"):
        check_specs(["nett=x.pth"], ["net"])


def test_a_download_is_kept_and_its_hash_remembered(
    server: tuple[str, Path], weights_folder: Path
) -> None:
    url, origin = server
    (origin / "new.pth").write_bytes(b"first")
    file = WeightFile("sub/new.pth", f"{url}/new.pth")
    assert resolve("net", (file,)).digest == hashlib.sha256(b"first").hexdigest()
    (origin / "new.pth").unlink()
    assert resolve("net", (file,)).paths == (weights_folder / "sub/new.pth",)  # no second download
    (weights_folder / "sub/new.pth").write_bytes(b"other")
    with pytest.raises(MissingDependencyError, match="another file than sha256:"):
        resolve("net", (file,))


def test_a_wrong_published_hash_leaves_nothing(
    server: tuple[str, Path], weights_folder: Path
) -> None:
    url, origin = server
    (origin / "net.pth").write_bytes(b"not it")
    file = WeightFile("net.pth", f"{url}/net.pth", "md5:" + hashlib.md5(b"it").hexdigest())
    with pytest.raises(MissingDependencyError, match="could not be fetched"):
        resolve("net", (file,))
    assert not (weights_folder / "net.pth").exists()
    (origin / "net.pth").write_bytes(b"it")
    resolve("net", (file,))
    (weights_folder / "net.pth").write_bytes(b"not it")
    with pytest.raises(MissingDependencyError, match="another file than md5:"):
        resolve("net", (file,))


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
    for name, content in (
        ("cut.pth", whole.read_bytes()[:2000]),
        ("empty.pth", b""),
        ("page.pth", b"<html>404</html>"),
        ("page.safetensors", b"<html>404</html>"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MissingDependencyError, match=name):
            read_checkpoint(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(MissingDependencyError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pth")


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
