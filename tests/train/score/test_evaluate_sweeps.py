"""What of a benchmark and of a run is tested: a list, one head, other areas, other cIoUs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_metrics as loops
import torch
from avpipe.cache.store import Cache
from avpipe.errors import UsageError
from avpipe.pipeline.main import main
from avpipe.train import load_run
from avpipe.train.benchmarks import load_benchmark
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.localizer import Localizer
from avpipe.train.score.evaluate import evaluate
from avpipe.train.score.sweeps import Sweeps
from avpipe.train.score.table import evaluate_text
from avpipe.train.truths.boxes import consensus_union
from cache_factory import make_cache
from evaluation_factory import TINY, write_flickr, write_vggss

pytestmark = pytest.mark.usefixtures("one_thread")
Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("cache"), 24)


@pytest.fixture(scope="module")
def annotations(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vggss(tmp_path_factory.mktemp("vggss"), [*cache.ids[12:], "gone"], negatives=9)


@pytest.fixture(scope="module")
def run(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "slavc"
    small = ["image_encoder=compact", "image_init=scratch", "audio_pool=8"]
    recipe = load_recipe("slavc", [*TINY, *small, "momentum=0.5", "ema=0"])
    train(cache, recipe, folder, ids=cache.ids[:12], device="cpu")
    return folder


@pytest.fixture
def score(cache: Cache, annotations: Path, run: Path) -> Evaluate:
    def ask(**how: Any) -> dict[str, Any]:
        given = {"annotations": annotations, "benchmark": "vggss-extended", "device": "cpu", **how}
        return evaluate([run], cache, **given)

    return ask


def maps_of(localizer: Localizer, cache: Cache, names: list[str]) -> list[list[float]]:
    maps = localizer.maps(cache, [cache.row_of(name) for name in names])
    return [one.ravel().tolist() for one in localizer.upsample(maps)]


def test_more_or_less_is_predicted(
    score: Evaluate, cache: Cache, annotations: Path, run: Path
) -> None:
    document = score(benchmark="vggss", sweeps=Sweeps(predicted=(0.1, 0.5, 0.75)))
    (entry,) = document["runs"]
    swept = entry["sweeps"]["predicted"]
    assert list(swept) == ["0.1", "0.5", "0.75"]
    assert swept["0.5"]["av"] == entry["scores"]["av"]
    boxes = load_benchmark("vggss", annotations).boxes
    names = [name for name in boxes if name != "gone"]
    maps = maps_of(load_run(run, "cpu"), cache, names)
    for share in (0.1, 0.75):
        found = []
        for name, one in zip(names, maps, strict=True):
            least = sorted(one)[int(len(one) * (1 - share))]
            truth = consensus_union(boxes[name]).ravel().tolist()
            found.append(loops.ciou([v >= least for v in one], truth))
        assert swept[f"{share:g}"]["av"]["ciou_mean"] == pytest.approx(np.mean(found), abs=1e-6)
    assert "share predicted 0.75" in evaluate_text(document)
    assert document["mean"]["sweeps"]["predicted"] == swept


def test_a_source_counts_as_found_from_another_ciou_on(score: Evaluate, run: Path) -> None:
    document = score(sweeps=Sweeps(levels=(0.2, 0.5, 0.75)), protocol="slavc")
    (entry,) = document["runs"]
    swept, whole = entry["sweeps"]["at"], entry["scores"]["av"]
    assert swept["0.5"]["av"]["ap"] == whole["ap"]
    assert swept["0.75"]["av"]["ap"] == whole["ap_75"]
    assert swept["0.2"]["av"]["loc_acc"] >= whole["loc_acc"] >= whole["loc_acc_75"]
    lines = (run / "evaluate/vggss-extended-slavc.csv").read_text().splitlines()
    names = lines[0].split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    expected = loops.slavc_average_precision(
        [float(row["confidence"]) for row in rows],
        [float(row["ciou"] or 0) for row in rows],
        [row["kind"] == "positive" for row in rows],
        0.2,
    )
    assert swept["0.2"]["av"]["ap"] == pytest.approx(expected)
    assert "found from cIoU 0.2" in evaluate_text(document)


@pytest.mark.parametrize(("head", "number"), [("correspondence", 0), ("localization", 1)])
def test_one_head_makes_the_maps(
    score: Evaluate, cache: Cache, run: Path, head: str, number: int
) -> None:
    whole, one = load_run(run, "cpu"), load_run(run, "cpu", head=head)
    clip = cache.clip(cache.ids[13])
    frame, sound = clip.frame, clip.waveform
    with torch.inference_mode():
        cells = whole._embed_frame(frame)[number][0]
        heard = whole._embed_audio(sound, clip.waveform_rate_hz)[number][0]
    expected = torch.einsum("dhw,d->hw", cells, heard).numpy()
    found = one.maps(cache, [cache.row_of(clip.id)])[0]
    np.testing.assert_allclose(found, expected, atol=2e-3)  # the cache's spectrogram is float16
    np.testing.assert_allclose(
        one.localize(frame, sound, clip.waveform_rate_hz),
        one.upsample(expected[None])[0],
        atol=1e-5,
    )
    (entry,) = score(head=head)["runs"]
    assert entry["head"] == head and not entry["maps_reused"]
    assert score(head=head)["runs"][0]["maps_reused"]
    assert (run / f"evaluate/vggss-extended-{head}-avpipe.json").exists()
    assert f"head {head}" in evaluate_text(score(head=head))
    assert entry["scores"]["av"] != score()["runs"][0]["scores"]["av"]


def test_only_the_clips_of_a_list_are_tested(
    score: Evaluate, cache: Cache, run: Path, annotations: Path, tmp_path: Path
) -> None:
    score()
    before = {path.name: path.read_bytes() for path in (run / "evaluate").glob("*")}
    ids = [*cache.ids[12:18], "gone", "elsewhere"]
    document = score(ids=ids)
    (entry,) = document["runs"]
    assert (entry["n_scored"], entry["n_official"], entry["missing"]) == (6, 13, ["gone"])
    assert entry["pairs"]["all"] == {"positive": 6, "hard": 2}  # both clips are in the list
    assert "--ids: 7 of the " in document["notices"][0]
    after = {path.name: path.read_bytes() for path in (run / "evaluate").glob("*")}
    assert {name: after[name] for name in before} == before
    assert any(name.startswith("vggss-extended@") for name in after)
    (tmp_path / "list.txt").write_text("\n".join(ids))
    words = ["evaluate", str(run), "--benchmark", "vggss-extended", "--annotations"]
    words += [str(annotations), "--cache", str(cache.path), "--device", "cpu"]
    assert main([*words, "--ids", str(tmp_path / "list.txt")]) == 0
    (tmp_path / "list.txt").write_text("nobody\n")
    assert main([*words, "--ids", str(tmp_path / "list.txt")]) == 4


def test_what_cannot_be_varied_is_refused(
    cache: Cache, run: Path, annotations: Path, tmp_path: Path, capsys: Any
) -> None:
    compact = tmp_path / "compact"
    train(cache, load_recipe("compact", TINY), compact, ids=cache.ids[:12], device="cpu")
    with pytest.raises(UsageError, match=r"--head localization: objective ez-vsl has only one"):
        load_run(compact, "cpu", head="localization")
    words = ["evaluate", str(run), "--annotations", str(annotations), "--cache", str(cache.path)]
    for more, line in (
        (["--benchmark", "retrieval", "--predicted", "0.1"], "--predicted goes with"),
        (["--benchmark", "retrieval", "--head", "localization"], "there is no map of a head"),
        (["--benchmark", "vggss", "--predicted", "0"], "above 0 and at most 1"),
        (["--benchmark", "vggss", "--at", "0.5,x"], "--at 0.5,x: should be numbers"),
    ):
        assert main([*words, *more]) == 2
        assert line in capsys.readouterr().err


def test_flickr_without_a_box_stays_in_the_test(cache: Cache, run: Path, tmp_path: Path) -> None:
    """As in LVS's and EZ-VSL's code; docs/protocol.md says what others do."""
    names = cache.ids[12:16]
    box = [10, 20, 110, 120]
    folder = write_flickr(tmp_path, {name: [[box]] if name != names[0] else [] for name in names})
    document = evaluate([run], cache, annotations=folder, benchmark="flickr", device="cpu")
    assert document["runs"][0]["n_scored"] == 4
    assert names[0] in " ".join(document["notices"])
    page = json.loads((run / "evaluate/flickr-avpipe.json").read_text())
    assert page["pairs"]["all"] == {"positive": 4}
    rows = (run / "evaluate/flickr-avpipe.csv").read_text().splitlines()
    column = rows[0].split(",").index("ciou")
    assert next(float(r.split(",")[column]) for r in rows if r.startswith(names[0])) == 0
