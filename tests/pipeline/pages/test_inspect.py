"""`inspect`: cards hold what the cache holds, the picture has no overlaps; failures are listed."""

import io
import json
import re
import shlex
import wave
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.cache.schema import Header, shard_path
from avpipe.cache.store import Cache, CachedClip
from avpipe.cache.writer import Rows, write_shard
from avpipe.pipeline.main import main
from avpipe.pipeline.pages.cards.gather import make_card, remarks, shown_stages, spread
from avpipe.pipeline.pages.cards.parts import spread_cells
from avpipe.pipeline.pages.cards.picture import draw_cards, facts
from avpipe.stages.neighbors.cluster import cluster
from avpipe.stages.neighbors.run import neighbors
from avpipe.train.show.drawing import cut
from cache_factory import make_cache
from fake_clips import make_cache as make_fake_cache
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

Ask = Callable[..., Any]
NUM = 14
HINT, TAGS = "hints/detr-r50", "hints/panns-cnn14"


def add(cache: Cache, stage: str, columns: Mapping[str, NDArray[Any]], weights: str = "w") -> None:
    """Write columns, indexed by row, for every shard."""
    for number in range(cache.manifest.num_shards):
        rows = cache.shard("extract", number).rows
        header = Header(
            stage=stage, stage_version=1, shard=number, params={}, inputs={}, n=len(rows),
            done=len(rows), weights=weights,
        )  # fmt: skip
        given = {name: Rows.array(values[rows]) for name, values in columns.items()}
        write_shard(
            shard_path(cache.path, stage, number), header, {"row": Rows.array(rows), **given}
        )


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache that was extracted, and no more."""
    return make_cache(tmp_path_factory.mktemp("bare") / "cache", NUM, shard_clips=5)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache with everything that is shown; the last two clips were held out of the neighbours."""
    cache = make_cache(tmp_path_factory.mktemp("full") / "cache", NUM, shard_clips=5)
    rng = np.random.default_rng(0)
    add(cache, HINT, {"value": rng.random((NUM, 8, 7, 7)).astype("<f2")}, "random:0")
    tags = np.stack([rng.permutation(527)[:5] for _ in range(NUM)]).astype("<i2")
    scores = np.sort(rng.random((NUM, 5)).astype("<f4"))[:, ::-1]
    sounds = rng.random((NUM, 16)).astype("<f4")
    add(cache, TAGS, {"value": sounds, "tags": tags, "tag_scores": scores})
    add(cache, "embeddings/imagenet-resnet18", {"value": rng.random((NUM, 16)).astype("<f4")})
    for encoder in ("imagenet-resnet18", "panns-cnn14"):
        neighbors(cache, encoder, 9, hold_out=("clip012", "clip013"))
    cluster(cache, "panns-cnn14", 3)
    return cache


def drawn(cache: Cache, *ids: str) -> tuple[Figure, list[str]]:
    shown = shown_stages(cache)
    cards = [make_card(cache, clip_id, shown, {}) for clip_id in ids]
    return draw_cards(cards, shown, remarks(shown)), remarks(shown)


def test_a_card_holds_what_the_cache_holds(full: Cache) -> None:
    shown = shown_stages(full)
    assert {kind: header.stage.partition("@")[0] for kind, header in shown.items()} == {
        "hint": HINT,
        "tags": TAGS,
        "image": "neighbors/image-imagenet-resnet18",
        "audio": "neighbors/audio-panns-cnn14",
        "clusters": "clusters/panns-cnn14-k3",
    }
    names = {int(full.column(f"{TAGS}/tags")[6][1]): "Dog, barking"}
    card = make_card(full, "clip006", shown, names)
    hint = full.column(HINT)[6].astype(np.float64)
    assert card.hint is not None
    np.testing.assert_allclose(card.hint, np.sqrt((hint**2).sum(axis=0)), rtol=1e-3)
    numbers = full.column(f"{TAGS}/tags")[6].tolist()
    assert [number for number, _, _ in card.tags] == numbers
    assert [name for _, name, _ in card.tags][:2] == [f"class {numbers[0]}", "Dog, barking"]
    assert [score for *_, score in card.tags] == full.column(f"{TAGS}/tag_scores")[6].tolist()
    rows, similarity = full.neighbors("image-imagenet-resnet18")[6]
    found = card.neighbors["image"]
    assert [one.id for one in found] == [f"clip{row:03d}" for row in rows[:5]]
    assert [one.similarity for one in found] == similarity[:5].tolist()
    assert [one.label for one in found] == [f"class{row % 4}" for row in rows[:5]]
    np.testing.assert_array_equal(found[2].frame, full.clip(found[2].id).frame)
    assert card.cluster == full.column(f"{shown['clusters'].stage}/label")[6]
    assert make_card(full, "clip013", shown, {}).neighbors == {"image": (), "audio": ()}


def test_what_is_missing_is_told_with_its_command(bare: Cache, full: Cache) -> None:
    assert remarks(shown_stages(bare)) == [
        "no visual hint and no audio tags: run `avpipe embed-teachers`",
        "no neighbours by sight and no neighbours by sound: run `avpipe knn`",
    ]
    assert remarks(shown_stages(full)) == [f"RANDOM weights, which know nothing, made {HINT}"]


def test_the_newest_stage_of_a_kind_is_shown(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", 4)
    add(cache, "hints/imagenet-resnet18", {"value": np.ones((4, 512), "<f4")})  # no map
    assert "hint" not in shown_stages(cache)
    add(cache, "embeddings/panns-cnn14", {"value": np.eye(4, dtype="<f4")})
    first = neighbors(cache, "panns-cnn14", 2).stage
    assert shown_stages(cache)["audio"].stage == first
    second = neighbors(cache, "panns-cnn14", 2, hold_out=["clip000"]).stage
    assert shown_stages(cache)["audio"].stage == second != first


def test_a_stage_that_has_the_clips_is_shown_before_a_newer_one(tmp_path: Path, ask: Ask) -> None:
    cache = make_cache(tmp_path / "cache", 6)
    add(cache, "embeddings/panns-cnn14", {"value": np.eye(6, dtype="<f4")})
    whole = neighbors(cache, "panns-cnn14", 3).stage
    few = neighbors(cache, "panns-cnn14", 1, ids=["clip000", "clip001"]).stage
    told = remarks({}, cache.path)
    assert told[1].endswith(f"run `avpipe knn --cache {cache.path}`")
    rows = {"clip000": few, "clip004": whole}
    for clip_id, stage in rows.items():
        made = ask(cache, "--id", clip_id, "--out", str(tmp_path / "x.png"))
        assert made["stages"]["audio"] == stage
    assert len(ask(cache, "--out", str(tmp_path / "x.png"))["clips"][1]["neighbors"]["audio"]) == 3


def test_a_neighbour_that_is_no_longer_extracted_is_left_out(tmp_path: Path, ask: Ask) -> None:
    cache = make_cache(tmp_path / "cache", 10, shard_clips=5)
    add(cache, "embeddings/panns-cnn14", {"value": np.eye(10, dtype="<f4")})
    neighbors(cache, "panns-cnn14", 9)
    shard_path(cache.path, "extract", 0).unlink()
    (clip,) = ask(cache, "--n", "1", "--out", str(tmp_path / "x.png"))["clips"]
    found = [one["id"] for one in clip["neighbors"]["audio"]]
    assert (clip["id"], found) == ("clip005", ["clip006", "clip007", "clip008", "clip009"])


@pytest.mark.parametrize("ids", [["clip003"], ["clip000", "clip004", "clip013"]])
@pytest.mark.parametrize("kind", ["bare", "full"])
def test_nothing_overlaps_or_leaves_the_page(
    kind: str, ids: list[str], request: pytest.FixtureRequest
) -> None:
    figure, notes = drawn(request.getfixturevalue(kind), *ids)
    figure.draw_without_rendering()
    parts = {f"axes {i}": axes.get_tightbbox() for i, axes in enumerate(figure.axes)}
    parts |= {text.get_text(): text.get_window_extent() for text in figure.texts}
    assert all(note in parts for note in notes)
    page = figure.bbox
    for name, box in parts.items():
        assert box is not None
        assert page.x0 <= box.x0 and box.x1 <= page.x1, name
        assert page.y0 <= box.y0 and box.y1 <= page.y1, name
    for (name, box), (other, beside) in combinations(parts.items(), 2):
        width = min(box.x1, beside.x1) - max(box.x0, beside.x0)
        height = min(box.y1, beside.y1) - max(box.y0, beside.y0)
        assert width <= 1 or height <= 1, (name, other)


def test_the_spectrograms_axes_are_seconds_and_kilohertz(bare: Cache) -> None:
    figure, _ = drawn(bare, "clip001", "clip004")
    whole, short = (axes for axes in figure.axes if axes.get_xlabel() == "seconds")
    left, right, bottom, top = whole.images[0].get_extent()
    assert (whole.get_ylabel(), round(bottom, 1), round(top, 1)) == ("kHz", 0, 11)
    hop_s = 238 / 22050
    assert left == pytest.approx(256 / 22050 - 93.5 * hop_s)
    assert right - left == pytest.approx(462 * hop_s)
    picture = whole.images[0].get_array()
    assert picture is not None and picture.shape == (257, 462)
    tone = np.ma.getdata(picture)[:, 231].argmax() * (top - bottom) / 257  # class1: 900 Hz
    assert tone == pytest.approx(0.9, abs=0.05)
    masked = np.ma.getmaskarray(short.images[0].get_array())  # its margins hold no sound
    assert masked[:, :93].all() and masked[:, 369:].all() and not masked[:, 93:369].any()


def test_cells_lie_where_padded_strides_put_them() -> None:
    cells = np.zeros((7, 7))
    cells[2, 5] = 1
    heat = spread_cells(cells, 224, 448)
    assert heat.shape == (224, 448)
    assert np.unravel_index(heat.argmax(), heat.shape) == (2 * 32, 5 * 64)
    ramp = spread_cells(np.arange(49.0).reshape(7, 7), 224, 224)
    np.testing.assert_allclose(
        ramp[:193, :193], np.add.outer(np.arange(193) * 7, np.arange(193)) / 32
    )


def test_silence_is_told_where_it_makes_figures_mean_nothing(
    full: Cache, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, stored = full, Cache.clip

    def clip(self: Cache, clip_id: str) -> CachedClip:
        return stored(self, clip_id)._replace(silent=clip_id == "clip002")

    monkeypatch.setattr(Cache, "clip", clip)
    shown = shown_stages(cache)
    card = make_card(cache, "clip002", shown, {})
    assert facts(card).endswith("silent: its tags and neighbours by sound mean nothing")
    assert facts(make_card(cache, "clip002", {}, {})).endswith("silent")
    assert "silent" not in facts(make_card(cache, "clip003", shown, {}))
    texts = [text.get_text() for axes in drawn(cache, "clip002")[0].axes for text in axes.texts]
    assert "silence" in texts
    near = [
        one for clip_id in cache.ids
        for found in make_card(cache, clip_id, shown, {}).neighbors.values() for one in found
    ]  # fmt: skip
    assert {one.name for one in near if one.id == "clip002"} == {"silent, class2"}
    assert not any(one.silent for one in near if one.id != "clip002")
    ask(cache, "--id", "clip002", "--out", str(tmp_path / "page.html"))
    assert "silent: its tags and neighbours by sound" in (tmp_path / "page.html").read_text()


def test_tags_are_called_by_audiosets_names(tmp_path: Path, ask: Ask) -> None:
    cache = make_cache(tmp_path / "cache", 2)
    known = {0: "Speech", 137: "Music", 394: "Busy signal", 500: "Silence", 501: "Sine wave"}
    add(cache, TAGS, {
        "value": np.ones((2, 16), "<f4"),
        "tags": np.array([list(known)] * 2, "<i2"),
        "tag_scores": np.full((2, 5), 0.5, "<f4"),
    })  # fmt: skip
    told = ask(cache, "--n", "1", "--out", str(tmp_path / "a.html"))
    assert {tag["class"]: tag["name"] for tag in told["clips"][0]["tags"]} == known
    assert not any("AudioSet" in notice for notice in told["notices"])
    assert "Busy signal" in (tmp_path / "a.html").read_text()


def test_clips_are_spread_over_the_cache() -> None:
    ids = [str(number) for number in range(10)]
    assert spread(ids, 4) == ["0", "3", "6", "9"]
    assert spread(ids, 1) == ["0"]
    assert spread(ids, 99) == ids
    assert (cut("abcdef", 6), cut("abcdefg", 6)) == ("abcdef", "abc...")


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run `inspect --json`; return its document."""

    def run(cache: Cache | Path, *words: str) -> Any:
        capsys.readouterr()
        path = cache.path if isinstance(cache, Cache) else cache
        assert main(["inspect", "--cache", str(path), *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_the_command_draws_and_tells(full: Cache, tmp_path: Path, ask: Ask) -> None:
    names = tmp_path / "class_labels_indices.csv"
    tags = full.column(f"{TAGS}/tags")[3].tolist()
    called = ["x"] * 527
    called[tags[0]] = "Bark, \u00e0 la chien"
    lines = [f'{number},/m/0x,"{name}"\n' for number, name in enumerate(called)]
    names.write_text("index,mid,display_name\n" + "".join(lines))
    out = tmp_path / "new" / "picture.png"
    made = ask(
        full, "--id", "clip003", "--id", "clip013", "--out", str(out), "--labels", str(names)
    )
    assert (made["schema"], made["picture"]) == ("avpipe.inspect/1", str(out))
    assert made["stages"]["hint"] == HINT
    clip, held_out = made["clips"]
    assert (clip["id"], clip["row"], clip["label"], clip["short"]) == (
        "clip003",
        3,
        "class3",
        False,
    )
    assert [tag["class"] for tag in clip["tags"]] == tags
    assert clip["tags"][0]["name"] == "Bark, \u00e0 la chien"
    assert [len(found) for found in clip["neighbors"].values()] == [5, 5]
    assert held_out["neighbors"] == {"image": [], "audio": []}
    with Image.open(out) as picture:
        assert picture.format == "PNG" and picture.width > 1000 < picture.height < picture.width
        assert len(set(picture.convert("RGB").resize((40, 40)).get_flattened_data())) > 100
    assert [path.name for path in out.parent.iterdir()] == ["picture.png"]
    again = out.read_bytes()
    ask(full, "--id", "clip003", "--id", "clip013", "--out", str(out), "--labels", str(names))
    assert out.read_bytes() == again
    assert len(ask(full, "--n", "2", "--out", str(out))["clips"]) == 2


def test_a_page_holds_the_same_and_the_sound(full: Cache, tmp_path: Path, ask: Ask) -> None:
    out = tmp_path / "page.html"
    made = ask(full, "--id", "clip003", "--id", "clip013", "--out", str(out))
    assert made["picture"] == str(out)
    page = out.read_text()
    embedded = re.findall(r'src="data:(\w+/\w+);base64,([^"]+)"', page)
    kinds = Counter(kind for kind, _ in embedded)
    assert kinds == {"image/jpeg": 4 + 10, "image/png": 2, "audio/wav": 2}
    for kind, data in embedded:
        if kind != "audio/wav":
            Image.open(io.BytesIO(b64decode(data))).load()
    sounds = [b64decode(data) for kind, data in embedded if kind == "audio/wav"]
    clip = full.clip("clip003")
    assert clip.waveform is not None and clip.frame_sample is not None
    heard = clip.waveform[clip.frame_sample - 48_000 : clip.frame_sample + 48_000]
    with wave.open(io.BytesIO(sounds[0])) as file:
        assert (file.getframerate(), file.getnchannels()) == (32_000, 1)
        assert file.readframes(99_999) == heard.astype("<i2").tobytes()
    for one in made["clips"][0]["neighbors"]["image"]:
        assert f"{one['similarity']:.3f} {one['label']}" in page
    assert page.count('<figure class="same">') == sum(
        one["label"] == "class3" for found in made["clips"][0]["neighbors"].values()
        for one in found
    )  # fmt: skip
    assert "RANDOM weights" in page and "not in the set of ids" in page


def test_the_commands_of_the_page_run(
    full: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("avcache").symlink_to(full.path)
    page = Path(__file__).parents[3] / "docs" / "looking.md"
    commands = re.findall(r"(?m)^\$ avpipe (inspect.*)$", page.read_text(encoding="utf-8"))
    assert len(commands) == 7
    for command in commands[1:]:  # the first one draws the same by default
        assert main(shlex.split(command, comments=True)) == 0
    made = {"inspect.png", "clips.html", "failures.html"}
    assert {path.name for path in tmp_path.iterdir()} == {"avcache", *made}


def test_what_cannot_be_shown_is_told(
    tmp_path: Path, bare: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = make_fake_cache(tmp_path / "cache", ["a1", "b2"], failures={"b2": ["no_audio"]})
    labels = tmp_path / "labels.csv"
    labels.write_text("name\nx\n")
    few, empty = tmp_path / "few.csv", tmp_path / "empty.txt"
    few.write_text("index,mid,display_name\n0,/m/0,Speech\n")
    empty.write_text("")
    told = {
        ("--id", "b2"): "clip b2 failed (no_audio: made to fail)",
        ("--id", "zz"): "no finished clip 'zz'",
        ("--labels", str(labels)): "not of the form of AudioSet's class_labels_indices.csv",
        ("--labels", str(tmp_path / "nowhere.csv")): "cannot be read",
        ("--labels", str(few)): "names 1 classes",
        ("--labels", str(empty)): "names 0 classes",
    }
    for words, message in told.items():
        out = ("--out", str(tmp_path / "x.png"))
        assert main(["inspect", "--cache", str(cache), *words, *out]) == 4
        assert message in capsys.readouterr().err
    many = [word for number in range(101) for word in ("--id", f"{number}")]
    assert main(["inspect", "--cache", str(cache), *many]) == 2
    out = ("--out", str(tmp_path / "labels.csv" / "x.png"))
    assert main(["inspect", "--cache", str(bare.path), *out]) == 7
    error = capsys.readouterr().err
    assert "x.png: File exists; name another file" in error and "cache writable" not in error
    for name in (tmp_path, tmp_path / "x.jpg"):
        assert main(["inspect", "--cache", str(bare.path), "--out", str(name)]) == 2
        assert "not the name of a .png or .html file" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_failed_clips_are_listed(
    tmp_path: Path, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    why = {"b2": ["no_audio"], "c3": ["timeout"]}
    cache = make_fake_cache(tmp_path / "cache", ["a1", "b2", "c3"], failures=why)
    made = ask(cache, "--failures")
    assert made["schema"] == "avpipe.failures/1"
    assert [(one["id"], one["reason"], one["row"]) for one in made["failures"]] == [
        ("b2", "no_audio", 1),
        ("c3", "timeout", 2),
    ]
    assert made["failures"][0]["detail"] == "made to fail"
    assert made["failures"][0]["path"] == str(tmp_path / "b2.mp4")
    assert main(["inspect", "--failures", "--cache", str(cache)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "reason", "detail", "path"]
    assert lines[3].split() == ["c3", "timeout", "made", "to", "fail", str(tmp_path / "c3.mp4")]
    assert lines[-1] == f"timeout may pass: `avpipe extract --retry-failed=timeout --cache {cache}`"
    assert ask(cache, "--failures", "--id", "c3")["counts"] == {"timeout": 1}
    (one,) = ask(cache, "--failures", "--reason", "no_audio")["failures"]
    assert one["id"] == "b2"
    page = tmp_path / "failures.html"
    assert ask(cache, "--failures", "--out", str(page))["counts"] == {"no_audio": 1, "timeout": 1}
    written = page.read_text()
    assert "<h1>2 clips failed</h1>" in written
    assert all(f">{word}</td>" in written for word in ("b2", "timeout", tmp_path / "c3.mp4"))
    for words in (["--failures", "--reason", "bad"], ["--failures", "--out", "x.png"],
                  ["--reason", "timeout"]):  # fmt: skip
        assert main(["inspect", *words, "--cache", str(cache)]) == 2
    sound = make_fake_cache(tmp_path / "sound", ["a1"])
    assert main(["inspect", "--failures", "--cache", str(sound)]) == 0
    assert capsys.readouterr().out == "no clip failed\n"
    nothing = make_fake_cache(tmp_path / "nothing", ["b2"], failures={"b2": ["no_audio"]})
    assert main(["inspect", "--cache", str(nothing)]) == 4
    assert "inspect --failures" in capsys.readouterr().err
