"""`evaluate --copies`: what is suspected, what is scored without it, what nobody can know."""

from pathlib import Path

import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.errors import InputError
from avpipe.pipeline.main import main
from avpipe.pipeline.scoring import CopySearch
from avpipe.stages.neighbors import copies as module
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.score.evaluate import evaluate
from avpipe.train.score.table import evaluate_text
from cache_factory import make_cache
from evaluation_factory import TINY, change_page, write_vggss

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Twelve clips are trained on and eight tested, two of which are copies by other names."""
    folder = tmp_path_factory.mktemp("cache")
    ids = [f"clip{number:03d}" for number in range(12)]
    make_cache(folder, 12, ids=ids)
    names = [f"copy{number:03d}" for number in (0, 1, *range(22, 28))]
    return make_cache(folder, 8, first=12, ids=names)


@pytest.fixture(scope="module")
def run(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "one"
    recipe = load_recipe("compact", [*TINY, "epochs=1"])
    train(cache, recipe, folder, ids=[*cache.ids[:12], "copy027"], device="cpu")
    return folder


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "no-weights"))


def test_scores_without_copies(cache: Cache, run: Path, tmp_path: Path) -> None:
    boxes = write_vggss(tmp_path, list(cache.ids[12:]))
    search = CopySearch(cache)
    document = evaluate([run], cache, annotations=boxes, benchmark="vggss", device="cpu",
                        find_copies=search)  # fmt: skip
    (entry,) = document["runs"]
    found = entry["copies"]
    pairs = {(pair["test"], pair["training"]) for pair in found["suspected"]}
    assert {("copy000", "clip000"), ("copy001", "clip001")} <= pairs
    assert (found["num_compared"], found["num_absent"]) == (13, 0)
    assert entry["leaked"] == ["copy027"]
    out = {test for test, _ in pairs} | {"copy027"}
    assert entry["copy_free"]["n_scored"] == 8 - len(out)
    rest = evaluate([run], cache, annotations=boxes, benchmark="vggss", device="cpu",
                    ids=sorted(set(cache.ids[12:]) - out))["runs"][0]  # fmt: skip
    for name in ("ciou_mean", "loc_acc_adaptive"):
        assert entry["copy_free"]["scores"]["av"][name] == rest["scores"]["av"][name]
    assert "copies" not in rest
    text = evaluate_text(document)
    assert "look or sound like clips that one was trained on (13 training clips compared)" in text
    assert "  copy000 is like clip000: picture 1.000, sound " in text


def test_none(cache: Cache, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = write_vggss(tmp_path, list(cache.ids[12:]))
    monkeypatch.setattr(module, "_alike", lambda *given: [])
    document = evaluate([run], cache, annotations=boxes, benchmark="vggss", device="cpu",
                        find_copies=CopySearch(cache))  # fmt: skip
    assert "copies: none of the test clips looks or sounds like one one learnt" in evaluate_text(
        document
    )


def test_the_options_of_evaluate(
    cache: Cache, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = write_vggss(tmp_path, list(cache.ids[12:]))
    words = f"evaluate {run} --cache {cache.path} --annotations {boxes} --device cpu --threads 1"
    asked = f"{words} --benchmark vggss --negatives silence,offscreen --bootstrap 9 --copies"
    assert main(f"{asked} --training-cache {cache.path} --format latex --bold".split()) == 0
    text = capsys.readouterr().out
    assert text.count(r"\begin{tabular}") == 2 and r"\textbf{" in text
    assert "% copies: 2 test clips look or sound like clips" in text
    assert "% one: 95 % intervals over clips, 9 draws" in text
    for wrong, line in (
        ("--benchmark vggss --negatives hush", "--negatives hush: expected some of silence"),
        ("--benchmark retrieval --negatives silence", "not with retrieval"),
        ("--benchmark vggss --negatives own", "vggss lists no sounds"),
        ("--benchmark vggss --bold", "--bold goes with --format latex or markdown"),
        (f"--benchmark vggss --training-cache {cache.path}", "nothing without --copies"),
    ):
        assert main(f"{words} {wrong}".split()) == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert line in told[-1], told


def test_what_nobody_can_know(cache: Cache, run: Path, tmp_path: Path) -> None:
    other = make_cache(tmp_path / "other", 4, first=40)
    with pytest.raises(InputError, match=r"other has none of the 13 clips .* --training-cache"):
        CopySearch(cache, other)(frozenset(map(str, range(13))), ["copy000"])
    boxes = write_vggss(tmp_path, list(cache.ids[12:]))
    change_page(run, inherited=None)
    document = evaluate([run], cache, annotations=boxes, benchmark="vggss", device="cpu",
                        find_copies=CopySearch(cache))  # fmt: skip
    assert document["runs"][0]["copies"] is None
    assert "copies: unknown, one came without the list" in evaluate_text(document)
