"""`--negatives` of a run trained for a moment: what is heard, where thresholds come from."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.errors import UsageError
from avpipe.stages.spectrogram import FRONT_ENDS
from avpipe.train import load_run
from avpipe.train.loop import train
from avpipe.train.negatives.asked import Asked, parse_kinds
from avpipe.train.negatives.made import Made
from avpipe.train.recipe import load_recipe
from avpipe.train.score.evaluate import evaluate
from avpipe.train.score.table import evaluate_text
from avpipe.train.tables import of_run as module
from cache_factory import make_cache
from evaluation_factory import TINY, write_vggss, write_world

ALL = Asked(("silence", "noise", "offscreen"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("cache"), 28)


@pytest.fixture(scope="module")
def run(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "one"
    recipe = load_recipe("compact", [*TINY, "epochs=1"])
    train(cache, recipe, folder, ids=cache.ids[:14], device="cpu")
    return folder


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "no-weights"))


def test_figures_are_those_of_maps_made_by_hand(cache: Cache, run: Path, tmp_path: Path) -> None:
    names = [f"clip{number:03d}" for number in range(14, 22)]
    boxes = write_vggss(tmp_path, names)
    document = evaluate([run], cache, annotations=boxes, benchmark="vggss", device="cpu",
                        negatives=ALL)  # fmt: skip
    (entry,) = document["runs"]
    own = entry["negatives"]["q3"]
    localizer = load_run(run, "cpu")
    front_end = FRONT_ENDS["257x276"]
    lit, peaks = [], []
    outside = [name for name in cache.ids if name not in names]
    for name in [*names, *outside]:
        (sound,) = Made("noise").sounds([name], front_end.window_samples)
        frame = cache.clip(name).frame
        small = localizer.maps_with(cache, [cache.row_of(name)], [name], Made("noise"))
        whole = localizer.upsample(small)[0]
        alone = localizer.localize(frame, sound, front_end.rate_hz)
        assert np.allclose(whole, alone, atol=1e-5)  # heard as any sound is
        if name in names:
            lit.append(float((whole > own["threshold"]).mean()))
        else:
            peaks.append(small.max())
    assert own["noise"]["pia"] == pytest.approx(np.mean(lit), abs=1e-6)
    told = entry["negatives_from"]
    assert told["calibration"]["clips"] == len(outside) == 20
    assert told["calibration"]["maps"] == 60 and told["calibration"]["from"].startswith("clips out")
    silence = localizer.maps_with(
        cache, [cache.row_of(n) for n in outside], outside, Made("silence")
    )
    assert entry["negatives"]["max"]["threshold"] >= max(*peaks, silence.max()) - 1e-6
    dark = 1 - np.mean([own[kind]["pia"] for kind in ALL.kinds])
    expected = 2 * own["ciou_mean"] * dark / (own["ciou_mean"] + dark)
    assert own["f"] == pytest.approx(expected, abs=1e-3)  # a mean over draws of whose sound it is
    assert told["draws"] == {"silence": 1, "noise": 1, "offscreen": 10}
    assert set(own["std"]) == {"f", "f_auc", "offscreen"}
    text = evaluate_text(document)
    assert "offscreen: mean and standard deviation of 10 draws of whose sound it is" in text
    (line,) = re.findall(r"(?m)^  offscreen +(pIA \d.*)$", text)[:1]
    assert line.count("±") == 5


def test_thresholds_never_look_at_positives(cache: Cache, run: Path, tmp_path: Path) -> None:
    """Whichever clips are tested, the same clips outside give the same threshold."""
    names = [f"clip{number:03d}" for number in range(14, 28)]
    boxes = write_vggss(tmp_path, names)

    def levels(ids: list[str], seed: int = 0) -> dict[str, Any]:
        asked = Asked(("noise",), seed)
        document = evaluate([run], cache, annotations=boxes, benchmark="vggss", device="cpu",
                            negatives=asked, ids=ids)  # fmt: skip
        found: dict[str, Any] = document["runs"][0]["negatives"]
        return found

    first, last, other = levels(names[:7]), levels(names[7:]), levels(names[:7], 1)
    assert first["q3"]["threshold"] == last["q3"]["threshold"] != other["q3"]["threshold"]


@pytest.fixture
def document(cache: Cache, run: Path, tmp_path: Path) -> dict[str, Any]:
    asked = Asked((*ALL.kinds, "own"))
    return evaluate([run], cache, annotations=write_world(tmp_path), device="cpu", negatives=asked)


def test_a_world_lists_negatives_of_its_own(document: dict[str, Any]) -> None:
    (entry,) = document["runs"]
    levels = entry["negatives"]
    assert set(levels) == {"q3", "max"}
    for figures in levels.values():
        assert {*ALL.kinds, "own"} <= set(figures)
        assert 0 <= figures["own"]["tnr"] <= figures["own"]["tnr_05"] <= 1
    assert levels["max"]["silence"]["pia"] <= levels["q3"]["silence"]["pia"]
    assert document["mean"]["negatives"]["q3"]["f"] == levels["q3"]["f"]
    assert document["groups"][0]["mean"]["negatives"] == document["mean"]["negatives"]


def test_the_text_says_the_rule_the_clips_and_the_value(document: dict[str, Any]) -> None:
    text = evaluate_text(document)
    value = document["runs"][0]["negatives"]["q3"]["threshold"]
    assert "silence, noise, offscreen, own (seed 0)" in text
    assert "clips outside the test; silence, noise, offscreen" in text
    assert "q3: third quartile of the negatives' peaks" in text
    assert f"q3: threshold {value:.4f}  F " in text and "\n  own       pIA " in text


def test_maps_with_made_sounds_are_made_once(
    document: dict[str, Any], cache: Cache, run: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "load_run", None)  # to open the network would raise
    asked = Asked((*ALL.kinds, "own"))
    again = evaluate([run], cache, annotations=tmp_path, negatives=asked)
    assert again["runs"][0]["negatives"] == document["runs"][0]["negatives"]


def test_peers_thresholds_stand_under_their_names(cache: Cache, run: Path, tmp_path: Path) -> None:
    names = [f"clip{number:03d}" for number in range(14, 22)]
    document = evaluate([run], cache, annotations=write_vggss(tmp_path, names), benchmark="vggss",
                        protocol="slavc", device="cpu", negatives=Asked(("silence",)))  # fmt: skip
    (entry,) = document["runs"]
    levels = entry["negatives"]
    assert levels["vssl-eval maxq3"]["threshold"] == pytest.approx(2 * 0.5450 - 1)
    assert set(levels["vssl-eval mixture"]) == {"loc_acc", "auc"}
    assert "0.5450, which vssl_eval's code states for slavc" in evaluate_text(document)


def test_few_clips_outside_the_test(cache: Cache, run: Path, tmp_path: Path) -> None:
    boxes = write_vggss(tmp_path, list(cache.ids))
    document = evaluate([run], cache, annotations=boxes, benchmark="vggss", device="cpu",
                        negatives=Asked(("silence",)))  # fmt: skip
    told = document["runs"][0]["negatives_from"]["calibration"]
    assert (told["from"], told["maps"]) == ("the test's own negatives", 28)


def test_what_cannot_be_tested(cache: Cache, run: Path, tmp_path: Path) -> None:
    boxes = write_vggss(tmp_path, [f"clip{number:03d}" for number in range(14, 22)])
    with pytest.raises(UsageError, match="maps of one sound each, not with retrieval"):
        evaluate([run], cache, annotations=boxes, benchmark="retrieval", negatives=ALL)
    with pytest.raises(UsageError, match="vggss lists no sounds of nothing"):
        evaluate([run], cache, annotations=boxes, benchmark="vggss", negatives=Asked(("own",)))


def test_kinds_are_parsed() -> None:
    assert parse_kinds(None) == Asked() and parse_kinds("silence, own", 3) == Asked(
        ("silence", "own"), 3
    )
    with pytest.raises(UsageError, match="hush: expected some of silence, noise, offscreen, own"):
        parse_kinds("silence,hush")
    with pytest.raises(UsageError, match="a kind comes twice"):
        parse_kinds("noise,noise")
