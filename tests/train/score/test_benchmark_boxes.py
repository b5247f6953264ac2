"""Benchmarks with true boxes: counts of the published files, broken boxes, scores against loops."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from avpipe.errors import InputError
from avpipe.pipeline import cli
from avpipe.train.benchmarks import MapSource, Pair, benchmark_names, load_benchmark
from avpipe.train.metrics import Floats, Maps
from avpipe.train.score.protocols import PROTOCOLS
from avpipe.train.truths.annotated import Annotated
from evaluation_factory import SILENT, SOUNDING, write_flickr, write_vggss

PUBLISHED = Path(__file__).parents[4] / "shared" / "metadata"
SIZE = 224
NAMES = [f"clip{number:03d}" for number in range(16)]

published = pytest.mark.skipif(
    not (PUBLISHED / "vggss.json").exists(), reason=f"no published annotations in {PUBLISHED}"
)


def test_names() -> None:
    assert benchmark_names() == [
        "avatar", "avsbench-ms3", "avsbench-s4", "flickr", "flickr-extended", "is3", "music-duet",
        "music-duet-avgn", "music-solo", "music-solo-avgn", "retrieval", "synth", "vggsound-duet",
        "vggsound-single", "vggss", "vggss-extended", "vggss-heard", "vggss-unheard", "vpo-ms",
        "vpo-ss",
    ]  # fmt: skip
    told = cli.commands()["evaluate"]["benchmark"].help
    assert sorted(re.findall(r"[a-z0-9-]+", told.partition(":")[2])) == benchmark_names()


@published
def test_counts_of_the_published_files() -> None:
    """379 real, 3594 easy, 1185 hard; sizes of SLAVC's Table 1; the ceiling of half the picture."""
    extended = load_benchmark("vggss-extended", PUBLISHED)
    everything = {"positive": 5158, "real": 379, "easy": 3594, "hard": 1185}
    assert extended.counts["all"] == everything
    assert len(extended.pairs()) == len(set(extended.pairs()))
    assert len(extended.items) == len({item.pair for item in extended.items}) == 10316
    assert {name: extended.counts[name] for name in ("small", "medium", "large", "huge")} == {
        "small": {"positive": 134},
        "medium": {"positive": 1796},
        "large": {"positive": 1726},
        "huge": {"positive": 1502},
    }
    assert f"{100 * extended.ceiling:.2f}" == "50.54"
    overflowed, bare = extended.notices
    assert "12 clips" in overflowed
    assert "2 clips (M1P1xla8rg0_000000, MKC9LvRivTM_000030)" in bare


@published
def test_lists_of_the_published_files() -> None:
    vggss = load_benchmark("vggss", PUBLISHED)
    shares = {name: vggss.counts[name]["positive"] for name in ("heard", "unheard", "rest")}
    assert shares == {"heard": 2564, "unheard": 2575, "rest": 19}
    assert isinstance(vggss, Annotated)
    judged = {name: len(vggss.lists[name]) for name in list(vggss.lists)[3:]}
    assert judged == {
        "seen-and-heard": 3230, "heard-only": 542, "seen-only": 45, "no-longer": 584,
        "static": 236, "not-judged": 5158 - 4401,
    }  # fmt: skip
    rest = {item.label for item in vggss.items if item.pair.video in vggss.lists["rest"]}
    assert rest == {"singing choir"}
    for name, number in (("vggss-heard", 2564), ("vggss-unheard", 2575), ("retrieval", 5158)):
        test = load_benchmark(name, PUBLISHED / "vggss.json")
        assert test.num_official == test.counts["all"]["positive"] == number


def drawn(boxes: Sequence[Sequence[float]]) -> Floats:
    """Draw boxes pixel by pixel as the truncation rule says."""
    picture = np.zeros((SIZE, SIZE))
    for x1, y1, x2, y2 in boxes:
        for y in range(int(y1 * SIZE), int(y2 * SIZE)):
            for x in range(int(x1 * SIZE), int(x2 * SIZE)):
                picture[y, x] = 1
    return picture


def random_maps(pairs: Sequence[Pair]) -> Maps:
    return np.stack([np.random.default_rng(seed_of(pair)).random((SIZE, SIZE)) for pair in pairs])


def seed_of(pair: Pair) -> list[int]:
    return [int(pair.video[-3:]), int(pair.audio[-3:])]


def ramps(pairs: Sequence[Pair]) -> Maps:
    """Maps that rise towards one corner or the other, some surer than others."""
    rising = np.add.outer(np.arange(SIZE), np.arange(SIZE)) / (2 * SIZE)
    return np.stack(
        [(rising if sum(seed_of(p)) % 3 else rising[::-1, ::-1]) + sum(seed_of(p)) for p in pairs]
    )


@pytest.mark.parametrize(("source", "some"), [(random_maps, False), (ramps, True)])
def test_scores_of_vggss_extended_against_a_loop(
    source: MapSource, some: bool, tmp_path: Path
) -> None:
    folder = write_vggss(tmp_path, NAMES, negatives=12)
    boxes = {e["file"]: e["bbox"] for e in json.loads((folder / "vggss.json").read_text())}
    test = load_benchmark("vggss-extended", folder)
    found = test.score(source)
    rows = []
    for item, record in zip(test.items, found.samples, strict=True):
        pair = item.pair
        (one,) = source([pair])
        chosen = one >= np.sort(one.ravel())[SIZE * SIZE // 2]
        positive = record["kind"] == "positive"
        truth = drawn(boxes[pair.video]) if positive else np.zeros((SIZE, SIZE))
        overlap = (truth * chosen).sum() / (truth.sum() + (chosen * (truth == 0)).sum())
        rows.append((one.max(), overlap, positive))
        assert record["confidence"] == pytest.approx(one.max(), abs=1e-6)
        if positive:
            assert record["ciou"] == pytest.approx(overlap)
            assert record["area_px"] == truth.sum()
    hits = [overlap >= 0.5 for _, overlap, positive in rows if positive]
    scores = found.scores["all"]
    assert scores["loc_acc"] == pytest.approx(np.mean(hits))
    f1 = []
    for threshold, _, _ in rows:
        tp = sum(c >= threshold and p and o >= 0.5 for c, o, p in rows)
        fp = sum(c >= threshold and not (p and o >= 0.5) for c, o, p in rows)
        fn = sum(c < threshold and p for c, _, p in rows)
        f1.append(2 * tp / (2 * tp + fp + fn))
    assert scores["max_f1"] == pytest.approx(max(f1))
    assert (0 < scores["loc_acc"] < 1) == some  # half of random pixels finds nothing


def test_kinds_of_negatives_and_sizes(tmp_path: Path) -> None:
    test = load_benchmark("vggss-extended", write_vggss(tmp_path, NAMES, negatives=12))
    assert test.counts["all"] == {"positive": 16, "real": 4, "easy": 4, "hard": 4}
    sizes = {name: test.counts[name] for name in ("small", "medium", "large", "huge")}
    assert sizes == {
        "small": {"positive": 4}, "medium": {"positive": 8}, "large": {}, "huge": {"positive": 4}
    }  # fmt: skip
    assert test.ceiling == pytest.approx(4 / 16)  # only the box of 80 % can be half covered
    scored = test.score(random_maps)
    assert {"real", "easy", "hard"} <= set(scored.scores)
    assert "loc_acc" not in scored.scores["real"]


def test_f1_by_kind_is_among_as_many_positives(tmp_path: Path) -> None:
    """Every source is found, and only the easy negatives are surer than the positives."""
    folder = write_vggss(tmp_path, NAMES, negatives=12)
    boxes = {e["file"]: e["bbox"] for e in json.loads((folder / "vggss.json").read_text())}
    test = load_benchmark("vggss-extended", folder)
    assert isinstance(test, Annotated)
    kinds = {item.pair: item.kind for item in test.items}
    level = {"positive": 5, "real": 1, "easy": 9, "hard": 1}

    def source(pairs: Sequence[Pair]) -> Maps:
        return np.stack([level[kinds[p]] * drawn(boxes.get(p.video, [SILENT])) for p in pairs])

    scores = test.score(source).scores
    assert scores["all"]["loc_acc_adaptive"] == 1
    assert scores["real"]["max_f1_adaptive"] == scores["hard"]["max_f1_adaptive"] == 1
    assert scores["easy"]["max_f1_adaptive"] == pytest.approx(2 * 4 / (2 * 4 + 4))  # 4 among 4
    assert scores["all"]["max_f1_adaptive"] == pytest.approx(2 * 16 / (2 * 16 + 4))  # among all 16


def test_leaked_clips_take_their_pairs_along(tmp_path: Path) -> None:
    test = load_benchmark("vggss-extended", write_vggss(tmp_path, NAMES, negatives=12))
    scored = test.score(random_maps)
    without = set(NAMES[:5])
    rest = test.only(set(test.clip_ids) - without)
    assert scored.headline(without) == (11, rest.score(random_maps).scores["all"])
    assert scored.headline() == (16, scored.scores["all"])


def test_broken_boxes_are_clipped_left_out_and_told(tmp_path: Path) -> None:
    bbox = {
        "overflow_000": [[0.5, 0.5, -2.88e16, 0.9], [0, 0, 0.5, 0.5]],
        "zero_001": [[0.5, 0.5, -2.88e16, 0.9]],
        "nan_002": [[float("nan"), 0, 1, 1], [0, 0, 1, 0.5]],
        "none_003": [],
        "fine_004": [SOUNDING],
    }
    entries = [{"file": name, "class": "a", "bbox": boxes} for name, boxes in bbox.items()]
    (tmp_path / "vggss.json").write_text(json.dumps(entries))
    test = load_benchmark("vggss", tmp_path)
    lines = "\n".join(test.notices)
    assert "2 clips (overflow_000, zero_001) with boxes out of the frame, clipped to it" in lines
    assert "1 clip (nan_002) with boxes that hold no number, left out" in lines
    assert "2 clips (zero_001, none_003) whose boxes have no area: cIoU is 0 there" in lines
    assert "has 5 clips, the published test 5,158" in lines
    samples = test.score(random_maps).samples
    assert [sample["area_px"] for sample in samples] == [112 * 112, 0, 224 * 112, 0, 90 * 90]
    assert [sample["ciou"] == 0 for sample in samples] == [False, True, False, True, False]
    assert all(sample["boxes"] for sample in samples)  # none counts as a negative


def test_heard_and_unheard_tell_of_their_own_boxes(tmp_path: Path) -> None:
    bbox = {"over_0": [[0.5, 0.5, 9e9, 0.9]], "bare_1": [], "fine_2": [SOUNDING]}
    entries = [{"file": name, "class": "a", "bbox": boxes} for name, boxes in bbox.items()]
    (tmp_path / "vggss.json").write_text(json.dumps(entries))
    (tmp_path / "vggss_heard_test.csv").write_text("over_0\n")
    (tmp_path / "vggss_unheard_test.csv").write_text("bare_1\nfine_2\n")
    heard, unheard = (
        "\n".join(load_benchmark(f"vggss-{name}", tmp_path).notices)
        for name in ("heard", "unheard")
    )
    assert "1 clip (over_0) with boxes out of the frame" in heard and "bare_1" not in heard
    assert "1 clip (bare_1) whose boxes have no area" in unheard and "over_0" not in unheard


def test_too_few_negatives_are_told(tmp_path: Path) -> None:
    flickr = write_flickr(tmp_path / "flickr", {"1000": [[[0, 0, 100, 100]]]})
    vggss = write_vggss(tmp_path, NAMES, negatives=12)
    for name, folder, line in (
        ("vggss-extended", vggss, "plus_silent.csv has 12 negatives, the published test 5,158"),
        ("flickr-extended", flickr, "plus_silent.csv has 1 negatives, the published test 250"),
    ):
        assert line in "\n".join(load_benchmark(name, folder).notices)
    (vggss / "vggss_test_plus_silent.csv").write_text("video,audio\n")
    assert "has 0 negatives" in "\n".join(load_benchmark("vggss-extended", vggss).notices)


def test_numbers_beyond_all_bounds_are_no_boxes(tmp_path: Path) -> None:
    huge = "9" * 400
    (tmp_path / "vggss.json").write_text(f'[{{"file": "a", "bbox": [[0, 0, 1, {huge}]]}}]')
    with pytest.raises(InputError, match=r"vggss\.json: not the boxes of clips"):
        load_benchmark("vggss", tmp_path)
    folder = write_flickr(tmp_path / "flickr", {"1000": [[[0, 0, 100, 100]]]})
    path = folder / "xml" / "1000.xml"
    path.write_text(path.read_text().replace("<ymax>100", f"<ymax>{huge}"))
    with pytest.raises(InputError, match=r"1000\.xml: not the boxes of annotators"):
        load_benchmark("flickr", folder)


def test_flickr_votes_count_half(tmp_path: Path) -> None:
    boxes = {
        "1000": [[[10, 20, 110, 120]], [[60, 70, 200, 220]], []],
        "1001": [[[0, 0, 256, 256]], [[0, 0, 256, 256]], [[5, 5, 9, 9]]],
    }
    test = load_benchmark("flickr", write_flickr(tmp_path, boxes))

    def rows_and_columns(pairs: Sequence[Pair]) -> Maps:
        maps = np.zeros((len(pairs), SIZE, SIZE))
        maps[:, 50:150, 50:150] = 1
        return maps

    scored = test.score(rows_and_columns)
    assert scored.samples[0]["area_px"] == 11928.5
    assert scored.samples[0]["ciou_fixed"] == pytest.approx(0.4460654112983152, abs=1e-15)
    assert [sample["size"] for sample in scored.samples] == ["large", "huge"]
    # half the picture covers all of the first truth: 11928.5 of 25088 and what lies beside it
    support = sum(v > 0 for v in _votes(boxes["1000"]).ravel())
    assert test.ceiling == np.mean([11928.5 / (11928.5 + 25088 - support) >= 0.5, True])


def _votes(annotators: list[list[list[int]]]) -> Floats:
    votes = np.zeros((SIZE, SIZE))
    for x1, y1, x2, y2 in (box for boxes in annotators for box in boxes):
        votes[y1 * 224 // 256 : y2 * 224 // 256, x1 * 224 // 256 : x2 * 224 // 256] += 0.5
    return np.minimum(votes, 1)


def test_flickr_without_some_files(tmp_path: Path) -> None:
    boxes = {str(1000 + i): [[[0, 0, 100, 100 + i]]] for i in range(4)}
    folder = write_flickr(tmp_path, boxes)
    (folder / "xml" / "1002.xml").unlink()
    test = load_benchmark("flickr-extended", folder)
    assert test.num_official == 4
    assert test.counts["all"] == {"positive": 3, "negative": 4}
    assert any("1 clip (1002) without an XML file, left out" in line for line in test.notices)
    (folder / "xml" / "1001.xml").write_text("<a><b><bbox><n/><x>1</x></bbox></b></a>")
    with pytest.raises(InputError, match=r"1001\.xml: not the boxes of annotators"):
        load_benchmark("flickr", folder)
    (folder / "xml" / "1001.xml").write_text("<a>")
    with pytest.raises(InputError, match=r"1001\.xml: not the boxes of annotators"):
        load_benchmark("flickr", folder)


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no vggss\.json; --annotations names"):
        load_benchmark("vggss", tmp_path)
    with pytest.raises(InputError, match=r"has no flickr_test\.csv"):
        load_benchmark("flickr", tmp_path)
    write_vggss(tmp_path, NAMES, negatives=3)
    with pytest.raises(InputError, match=r"has no vggss_heard_test\.csv"):
        load_benchmark("vggss-heard", tmp_path)
    (tmp_path / "vggss_heard_test.csv").write_text("clip000\nclip077\n")
    with pytest.raises(InputError, match=r"heard_test\.csv: clip077 is in no entry"):
        load_benchmark("vggss-heard", tmp_path)
    (tmp_path / "vggss_heard_test.csv").write_text("clip000\nclip000\n")
    with pytest.raises(InputError, match=r"heard_test\.csv: clip000 comes twice"):
        load_benchmark("vggss-heard", tmp_path)
    (tmp_path / "vggss_heard_test.csv").write_text("clip000\n")
    (tmp_path / "vggss_test_plus_silent.csv").write_text("video,audio\nclip000,clip900\n")
    with pytest.raises(InputError, match=r"plus_silent\.csv: clip900 is in no entry"):
        load_benchmark("vggss-extended", tmp_path)
    (tmp_path / "vggss_test_plus_silent.csv").write_text("video\nclip000\n")
    with pytest.raises(InputError, match=r"plus_silent\.csv: a line without audio"):
        load_benchmark("vggss-extended", tmp_path)
    (tmp_path / "flickr_test.csv").write_text("1000,1\n")
    with pytest.raises(InputError, match=r"there is no <id>\.xml of 1000"):
        load_benchmark("flickr", tmp_path)
    entry = {"file": "a", "bbox": []}
    (tmp_path / "vggss.json").write_text(json.dumps([entry, entry]))
    with pytest.raises(InputError, match="a comes twice"):
        load_benchmark("vggss", tmp_path)


def test_retrieval_finds_what_is_alike(tmp_path: Path) -> None:
    test = load_benchmark("retrieval", write_vggss(tmp_path, NAMES))
    assert (test.reads, list(test.priors)) == ("embeddings", [])

    def embedded(pairs: Sequence[Pair]) -> Maps:
        """Sounds of a pair's two clips are the same; so are their frames."""
        which = np.array([int(pair.video[-3:]) // 2 for pair in pairs])
        return np.stack([np.eye(8)[which], np.eye(8)[which]], axis=1)

    scored = test.score(embedded)
    scores = scored.scores["all"]
    assert scores["a2i_r1_class"] == scores["i2a_r1_class"] == 1
    assert scores["a2i_r1"] == scores["i2a_r1"] == 0.5  # of two that are equal the first wins
    assert scores["a2i_r5"] == 1
    assert [sample["frames_before"] for sample in scored.samples] == [0, 1] * 8
    alone = scored.headline(set(NAMES[::2]))
    assert (alone[0], alone[1]["a2i_r1"]) == (8, 1)


def test_confidence_may_be_anothers(tmp_path: Path) -> None:
    test = load_benchmark("vggss-extended", write_vggss(tmp_path, NAMES, negatives=12))
    sure = np.arange(len(test.items), dtype=np.float64)
    scored = test.score(ramps, PROTOCOLS["avpipe"], sure)
    assert np.array_equal(scored.confidence, sure)
    assert scored.scores["all"]["loc_acc"] == test.score(ramps).scores["all"]["loc_acc"]
    assert scored.scores["all"]["ap"] != test.score(ramps).scores["all"]["ap"]
