"""Synthetic worlds: formats, boxes and sounds against decoded files, resume, determinism."""

from __future__ import annotations

import csv
import json
import socket
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from avpipe.errors import CacheUnwritableError, UsageError
from avpipe.stages.synth import frames, lists, scenes
from avpipe.stages.synth import timbre as synth_sound
from avpipe.stages.synth import world as synth_world
from avpipe.stages.synth.encode import encode_clip
from avpipe.stages.synth.folder import SynthSummary
from avpipe.stages.synth.run import synth

METADATA = Path(__file__).parents[3] / "shared" / "metadata"
NUM_CLIPS, NUM_CLASSES, SEED = 12, 9, 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SynthSummary]:
    out = tmp_path_factory.mktemp("synth") / "world"
    return out, synth(out, clips=NUM_CLIPS, classes=NUM_CLASSES, seed=SEED)


def plan(
    seed: int = SEED, num_train: int = NUM_CLIPS, num_classes: int = NUM_CLASSES, **other: Any
):
    classes = synth_world.draw_classes(seed, num_classes)
    options: dict[str, Any] = {"num_objects": 2, "size": (0.28, 0.42), **other}
    return classes, scenes.plan_clips(seed, classes, num_train=num_train, **options)


def rng_of(clip: scenes.SynthClip, use: int) -> np.random.Generator:
    return np.random.default_rng([SEED, use, clip.index])


def contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def boxes(path: Path) -> dict[str, dict[str, Any]]:
    return {entry["file"]: entry for entry in json.loads(path.read_text())}


def frame_at(path: Path, time_s: float) -> np.ndarray:
    """The frame with pts <= time < pts + duration, found by decoding everything."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time <= time_s < frame.time + 1 / 15:
                return frame.to_ndarray(format="rgb24")
    raise AssertionError(f"no frame at {time_s}")


def samples_of(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray() for frame in container.decode(audio=0)]
        return np.concatenate(decoded, axis=1), container.streams.audio[0].rate


# -- the folder ---------------------------------------------------------------------------------


def test_same_seed_gives_the_same_bytes_for_any_number_of_jobs(
    world: tuple[Path, SynthSummary], tmp_path: Path
) -> None:
    out, _ = world  # made by one
    synth(tmp_path / "again", clips=NUM_CLIPS, classes=NUM_CLASSES, seed=SEED, jobs=2)
    assert contents(tmp_path / "again") == contents(out)


def test_a_killed_world_is_finished_with_the_same_bytes(
    world: tuple[Path, SynthSummary], tmp_path: Path
) -> None:
    out, _ = world
    options: dict[str, Any] = {"clips": NUM_CLIPS, "classes": NUM_CLASSES, "seed": SEED}
    again = tmp_path / "again"

    def kill(present: int, total: int) -> None:
        if present >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synth(again, **options, progress=kill)
    assert not (again / "labels.csv").exists()
    host = socket.gethostname()
    (again / "videos" / f".x.mp4.{host}.{2**30}.0123abcd").write_bytes(b"half")  # of no process
    videos = sorted((again / "videos").glob("*.mp4"))
    assert len(videos) == 8
    videos[0].unlink()
    videos[1].write_bytes(b"")
    kept_at = videos[2].stat().st_mtime_ns

    seen: list[tuple[int, int]] = []
    summary = synth(again, **options, progress=lambda present, total: seen.append((present, total)))
    assert contents(again) == contents(out)
    assert (summary.num_made, summary.num_kept) == (10, 6)
    assert videos[2].stat().st_mtime_ns == kept_at
    assert seen[0] == (6, 16)
    assert seen[-1] == (16, 16)
    assert synth(again, **options).num_made == 0


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 4},
        {"clips": 13},
        {"classes": 10},
        {"num_objects": 3},
        {"size": (0.2, 0.3)},
        {"num_test": 5},
    ],
    ids=str,
)
def test_another_world_in_the_folder_is_refused(
    world: tuple[Path, SynthSummary], other: dict[str, Any]
) -> None:
    out, _ = world
    before = contents(out)
    options = {"clips": NUM_CLIPS, "classes": NUM_CLASSES, "seed": SEED, **other}
    with pytest.raises(UsageError, match="holds another world"):
        synth(out, **options)
    assert contents(out) == before


def test_a_world_begun_with_other_versions_is_kept_but_not_continued(tmp_path: Path) -> None:
    out = tmp_path / "world"
    synth(out, clips=1, classes=4)
    stamp = json.loads((out / "world.json").read_text())
    stamp["versions"]["av"] = "1.0"
    (out / "world.json").write_text(json.dumps(stamp))
    assert synth(out, clips=1, classes=4).num_made == 0
    next((out / "videos").glob("*.mp4")).unlink()
    with pytest.raises(UsageError, match="was begun with"):
        synth(out, clips=1, classes=4)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        synth(tmp_path, clips=1, classes=4)
    with pytest.raises(UsageError, match="not a folder"):
        synth(tmp_path / "thesis.tex", clips=1, classes=4)
    (tmp_path / "world.json").write_text("{")
    with pytest.raises(UsageError, match="not readable"):
        synth(tmp_path, clips=1, classes=4)
    assert {p.name for p in tmp_path.iterdir()} == {"thesis.tex", "world.json"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"clips": 0},
        {"classes": 3},
        {"seed": -1},
        {"num_objects": 1},
        {"num_objects": 4},
        {"num_test": 0},
        {"size": (0.4, 0.3)},
        {"size": (0.3, 0.6)},
        {"size": (float("nan"), 0.3)},
    ],
    ids=str,
)
def test_arguments_out_of_range(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        synth(tmp_path / "out", **{"clips": 1, "classes": 4, **wrong})
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "videos").write_text("in the way")
    with pytest.raises(CacheUnwritableError, match="same command resumes"):
        synth(tmp_path / "out", clips=1, classes=4)


# -- lists and annotations ----------------------------------------------------------------------


def test_lists_agree_with_each_other(world: tuple[Path, SynthSummary]) -> None:
    out, summary = world
    labels = {row["id"]: row for row in rows(out / "labels.csv")}
    train, test = ((out / f"{split}.txt").read_text().split("\n") for split in ("train", "test"))
    assert train.pop() == test.pop() == ""
    sounding, silent = boxes(out / "vggss.json"), boxes(out / "silent_boxes.json")
    negatives, swaps = rows(out / "plus_silent.csv"), rows(out / "swapped.csv")

    assert list(labels) == [f"synth3-{n:05d}_000000" for n in range(16)]
    assert {p.stem for p in (out / "videos").iterdir()} == set(labels)
    assert all((out / row["path"]).is_file() for row in labels.values())
    assert train == [i for i, row in labels.items() if row["split"] == "train"]
    assert test == [
        i for i, row in labels.items() if row["split"] == "test" and row["offscreen"] == "0"
    ]
    assert list(sounding) == test
    assert set(silent) == {i for i, row in labels.items() if row["split"] == "test"}
    assert all(sounding[i]["class"] == labels[i]["label"] for i in test)
    assert all(silent[i]["class"] == labels[i]["silent"] for i in silent)
    assert all(len(entry["bbox"]) == len(entry["class"].split(" ")) for entry in silent.values())

    for row in negatives:
        video, audio = labels[row["video"]], labels[row["audio"]]
        assert row["label"] == "non-sounding"
        assert (row["video"] == row["audio"]) == (video["offscreen"] == "1")
        assert audio["label"] not in video["silent"].split(" ")
        assert video["offscreen"] == "1" or audio["label"] != video["label"]
    for row in swaps:
        assert row["video"] != row["audio"]
        wanted = labels[row["video"]]["silent"].split(" ")[int(row["silent"])]
        assert labels[row["audio"]]["label"] == wanted

    assert (summary.num_train, summary.num_test, summary.num_offscreen) == (12, 3, 1)
    assert summary.num_mismatched == len(negatives) - 1
    assert summary.num_swapped == len(swaps)
    assert (summary.num_made, summary.num_kept) == (16, 0)


def test_world_json_describes_the_classes(world: tuple[Path, SynthSummary]) -> None:
    out, summary = world
    content = json.loads((out / "world.json").read_text())
    names = [c["name"] for c in content["class_list"]]
    assert len(set(names)) == NUM_CLASSES == summary.num_classes
    assert all(name.isascii() and " " not in name and "," not in name for name in names)
    assert content["held_out"] == names[-4:]
    assert set(content["versions"]) == {"av", "encoding", "libavcodec", "numpy"}
    assert {row["label"] for row in rows(out / "labels.csv")} <= set(names)


def test_formats_are_the_real_ones(world: tuple[Path, SynthSummary]) -> None:
    if not METADATA.is_dir():
        pytest.skip("the real lists are not here")
    out, _ = world
    real, ours = (json.loads((d / "vggss.json").read_text()) for d in (METADATA, out))
    assert list(real[0]) == list(ours[0]) == list(boxes(out / "silent_boxes.json").popitem()[1])
    for entry in ours:
        ((x1, y1, x2, y2),) = entry["bbox"]
        assert 0 <= x1 < x2 <= 1
        assert 0 <= y1 < y2 <= 1
    real_rows, our_rows = (
        rows(d / name)
        for d, name in ((METADATA, "vggss_test_plus_silent.csv"), (out, "plus_silent.csv"))
    )
    assert list(real_rows[0]) == list(our_rows[0])
    assert {row["label"] for row in real_rows} == {row["label"] for row in our_rows}
    # video = audio means an off-screen source, and comes first, outside the list of positives
    assert real_rows[0]["video"] == real_rows[0]["audio"]
    assert our_rows[0]["video"] == our_rows[0]["audio"]
    for folder, name, found in (
        (METADATA, "vggss_test.csv", real_rows),
        (out, "test.txt", our_rows),
    ):
        assert found[0]["video"] not in (folder / name).read_text().splitlines()


def test_shares_and_held_out_classes_in_a_large_plan() -> None:
    classes, clips = plan(num_train=800, num_classes=16)
    held_out = {i for i, c in enumerate(classes) if c.held_out}
    test = [clip for clip in clips if clip.split == "test"]
    assert len(held_out) == 4
    assert Counter(clip.split for clip in clips) == {"train": 800, "test": 240}
    assert sum(clip.offscreen for clip in test) == 36
    mismatched, swapped = lists.draw_pairs(SEED, clips)
    assert len(mismatched) == len({video.clip_id for video, _ in mismatched}) == 36
    for video, audio in mismatched:
        assert audio.sound_class not in [thing.class_index for thing in video.objects]
        assert not (video.held_out or audio.held_out or video.offscreen or audio.offscreen)
    assert len(swapped) == 204
    assert sum(clip.held_out for clip in test) == 51

    sounds = Counter(clip.sound_class for clip in clips if clip.split == "train")
    assert set(sounds) == set(range(16)) - held_out
    assert max(sounds.values()) - min(sounds.values()) <= 1
    for clip in clips:
        shown = [thing.class_index for thing in clip.objects]
        assert len(set(shown)) == 2
        assert len(clip.silent) == 2 if clip.offscreen else shown[0] == clip.sound_class
        assert clip.sound_class not in [thing.class_index for thing in clip.silent]
        assert clip.held_out == (clip.sound_class in held_out)
        if not clip.held_out:
            assert not held_out & {clip.sound_class, *shown}


def test_test_clips_are_a_share_or_as_many_as_asked() -> None:
    for asked, expected in ((None, 30), (1, 1), (250, 250)):
        _, clips = plan(num_train=100, num_test=asked)
        assert Counter(clip.split for clip in clips) == {"train": 100, "test": expected}
        assert sum(clip.offscreen for clip in clips) == round(0.15 * expected)


def test_few_classes_keep_at_least_four_for_training() -> None:
    held_out = {n: synth_world.num_held_out(n) for n in (4, 5, 6, 8, 9, 16, 100)}
    assert held_out == {4: 0, 5: 0, 6: 1, 8: 2, 9: 4, 16: 4, 100: 4}


def test_boxes_are_uniform_apart_and_by_one_law() -> None:
    _, clips = plan(num_train=4000)
    corners = np.array([[thing.box_px for thing in clip.objects] for clip in clips]) / 256
    sides = corners[..., 2:] - corners[..., :2]
    assert corners.min() >= 0
    assert corners.max() <= 1
    assert sides.min() >= 0.28 - 1 / 512
    assert sides.max() <= 0.42 + 1 / 512
    np.testing.assert_allclose(sides.mean((0, 2)), 0.35, atol=0.002)  # sounding, silent
    first, second = corners[:, 0], corners[:, 1]
    overlap = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    assert (overlap.min(axis=1) <= 0).all()
    # the arrangement is symmetric: mirrored or with its objects exchanged it is as likely
    centres = (corners[..., :2] + corners[..., 2:]) / 2
    np.testing.assert_allclose(centres.mean(0), 0.5, atol=0.015)
    np.testing.assert_allclose(centres.std(0), centres.std(), atol=0.01)


@pytest.mark.parametrize("size", [(0.45, 0.45), (0.05, 0.45)])
def test_three_large_objects_still_fit(size: tuple[float, float]) -> None:
    _, clips = plan(num_train=20, num_objects=3, size=size)
    for clip in clips:
        canvas = np.zeros((256, 256), int)
        for x1, y1, x2, y2 in (thing.box_px for thing in clip.objects):
            canvas[y1:y2, x1:x2] += 1
        assert canvas.max() == 1
        assert len({thing.class_index for thing in clip.objects}) == 3


def test_another_seed_is_another_world() -> None:
    first, second = (synth_world.draw_classes(seed, 16) for seed in (0, 1))
    assert not {c.appearance for c in first} & {c.appearance for c in second}
    assert not {c.timbre for c in first} & {c.timbre for c in second}
    pairing = [
        [(c.appearance.shape, c.timbre.family) for c in classes] for classes in (first, second)
    ]
    assert pairing[0] != pairing[1]


def test_every_class_of_forty_has_its_own_shape_and_texture() -> None:
    looks = [c.appearance for c in synth_world.draw_classes(0, 40)]
    assert len({(look.shape, look.texture) for look in looks}) == 40


# -- pictures -----------------------------------------------------------------------------------


def test_files_last_exactly_four_seconds(world: tuple[Path, SynthSummary]) -> None:
    out, _ = world
    channels = set()
    for path in (out / "videos").iterdir():
        with av.open(str(path)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert video.codec_context.name == "h264"
            assert video.codec_context.has_b_frames
            assert (video.width, video.height, video.average_rate) == (256, 256, 15)
            assert video.duration * video.time_base == 4
            assert (audio.codec_context.name, audio.rate) == ("aac", 44100)
            assert audio.duration * audio.time_base == 4
            assert "creation_time" not in container.metadata
            channels.add(audio.channels)
            pts_s = [float(frame.time) for frame in container.decode(video=0)]
        np.testing.assert_allclose(pts_s, np.arange(60) / 15)
    assert channels == {1, 2}


def test_boxes_match_decoded_pixels(world: tuple[Path, SynthSummary]) -> None:
    """The boxes bound what differs from the background in the decoded middle frames."""
    out, _ = world
    classes, clips = plan()
    sounding, silent = boxes(out / "vggss.json"), boxes(out / "silent_boxes.json")
    for clip in [clip for clip in clips if clip.split == "test"]:
        frame = frame_at(out / "videos" / f"{clip.clip_id}.mp4", 2.0).astype(int)
        empty = frames.frames(replace(clip, objects=()), classes, rng_of(clip, synth_world.PICTURE))
        seen = np.abs(frame - next(empty)).max(-1) > 48
        annotated = sounding[clip.clip_id]["bbox"] if clip.clip_id in sounding else []
        annotated = np.array([*annotated, *silent[clip.clip_id]["bbox"]]) * 256
        assert len(annotated) == 2
        for x1, y1, x2, y2 in np.rint(annotated).astype(int):
            around = np.s_[max(y1 - 4, 0) : y2 + 4, max(x1 - 4, 0) : x2 + 4]
            alone = np.zeros_like(seen)
            alone[around] = seen[around]
            y, x = np.nonzero(alone)
            found = (x.min(), y.min(), x.max() + 1, y.max() + 1)
            np.testing.assert_allclose(found, (x1, y1, x2, y2), atol=4)
            seen[around] = False
        assert seen.mean() < 0.001


@pytest.mark.parametrize("shape", synth_world.SHAPES)
@pytest.mark.parametrize("width_px, height_px", [(72, 107), (13, 13), (115, 72)])
def test_a_sprite_touches_all_four_sides(shape: str, width_px: int, height_px: int) -> None:
    look = replace(synth_world.draw_classes(0, 4)[0].appearance, shape=shape)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        colour, opacity = frames.sprite(look, width_px, height_px, rng)
        assert colour.shape == (height_px, width_px, 3)
        assert opacity.shape == (height_px, width_px, 1)
        assert opacity.max() == 256
        solid = opacity[..., 0] > 0
        assert solid[:2].any() and solid[-2:].any()
        assert solid[:, :2].any() and solid[:, -2:].any()
        assert 0.2 < solid.mean() <= 1


def test_objects_drift_slowly_and_stay_in_the_picture() -> None:
    classes, clips = plan(num_train=60)
    for clip in clips[:6]:
        bare = replace(clip, objects=())
        empty = next(frames.frames(bare, classes, rng_of(clip, synth_world.PICTURE)))
        moving = list(frames.frames(clip, classes, rng_of(clip, synth_world.PICTURE)))
        assert len(moving) == 60
        still = replace(
            clip, objects=tuple(replace(o, velocity_px_s=(0.0, 0.0)) for o in clip.objects)
        )
        stills = frames.frames(still, classes, rng_of(clip, synth_world.PICTURE))
        np.testing.assert_array_equal(moving[30], next(stills))
        areas = []
        for frame in moving:
            changed = np.abs(frame.astype(int) - empty).max(-1) > 0
            areas.append(changed.sum())
        # nothing leaves through the edge: the drawn area shrinks only by mutual occlusion
        assert min(areas) > 0.8 * areas[30]
        assert (moving[0] != moving[30]).any()
        step = [(a != b).any(-1).mean() for a, b in pairwise(moving)]
        assert max(step) < 0.4


def test_classes_differ_at_96_px() -> None:
    """Nearest mean colour and contrast, no learning: most of 16 classes are told apart."""
    classes = synth_world.draw_classes(0, 16)
    seen = np.array([[describe(look.appearance, seed) for seed in range(12)] for look in classes])
    means = seen[:, :6].mean(1)
    guess = np.linalg.norm(seen[:, 6:, None] - means, axis=-1).argmin(-1)
    assert (guess == np.arange(16)[:, None]).mean() > 0.7


def describe(look: synth_world.Appearance, seed: int) -> np.ndarray:
    colour, opacity = frames.sprite(look, 34, 34, np.random.default_rng(seed))
    pixels = colour[opacity[..., 0] == 256] / 255
    chroma = pixels - pixels.mean(1, keepdims=True)
    return np.concatenate([chroma.mean(0), chroma.std(0), [0.3 * (opacity > 0).mean()]])


# -- sounds -------------------------------------------------------------------------------------


def fingerprint(samples: np.ndarray) -> np.ndarray:
    """Log-spectrum of the centre 3 s: mean and spread over time, so that phase does not count."""
    mono = samples.mean(0)[22050 : 22050 + 129 * 1024]
    power = np.abs(np.fft.rfft(mono.reshape(129, 1024) * np.hanning(1024))) ** 2
    log = np.log(power[:, :256].reshape(129, 64, 4).mean(-1) + 1e-7)
    log -= np.median(log)
    return np.concatenate([log.mean(0), 2 * log.std(0)])


def test_only_the_sounding_class_is_heard(world: tuple[Path, SynthSummary]) -> None:
    """Each decoded clip sounds most like fresh examples of its label, not like what it shows."""
    out, _ = world
    classes, _ = plan()
    examples = {
        c.name: np.mean(
            [
                fingerprint(synth_sound.waveform(c.timbre, np.random.default_rng(100 + n)))
                for n in range(4)
            ],
            axis=0,
        )
        for c in classes
    }
    usual = np.mean(list(examples.values()), axis=0)  # the noise that every clip shares
    for row in rows(out / "labels.csv"):
        samples, rate_hz = samples_of(out / row["path"])
        assert rate_hz == 44100
        heard = fingerprint(samples) - usual
        scores = {name: np.corrcoef(heard, e - usual)[0, 1] for name, e in examples.items()}
        assert max(scores, key=scores.__getitem__) == row["label"]


def test_the_picture_does_not_change_the_sound(tmp_path: Path) -> None:
    classes, clips = plan()
    decoded = []
    for name, clip in (("with", clips[0]), ("without", replace(clips[0], objects=()))):
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(encode_clip(clip, classes, SEED))
        decoded.append(samples_of(path)[0])
    np.testing.assert_array_equal(*decoded)


@pytest.mark.parametrize("family", synth_world.FAMILIES)
def test_a_timbre_is_steady(family: str) -> None:
    """The same spectrum in the first and the last seconds, and a signal well above silence."""
    for band_hz in (600.0, 2000.0, 7000.0):
        timbre = synth_world.Timbre(family, band_hz, 4.0, 0.9)
        samples = synth_sound.waveform(timbre, np.random.default_rng(1))
        assert samples.dtype == np.float32
        assert samples.shape in ((1, 176400), (2, 176400))
        assert np.abs(samples).max() <= 1
        assert 20 * np.log10(samples.std()) > -40
        early, late = (
            np.abs(np.fft.rfft(part)).reshape(-1, 50).sum(1)
            for part in (samples[0, :66150][:66098], samples[0, -66150:][:66098])
        )
        assert np.corrcoef(early, late)[0, 1] > 0.95


def test_decoded_sound_is_on_the_clock_of_the_picture(world: tuple[Path, SynthSummary]) -> None:
    """The encoder's delay is declared in the file: decoded samples line up with rendered ones."""
    out, _ = world
    classes, clips = plan()
    noisy = next(c for c in clips if classes[c.sound_class].timbre.family == "noise")
    rendered = synth_sound.waveform(
        classes[noisy.sound_class].timbre, rng_of(noisy, synth_world.SOUND)
    )
    decoded, _ = samples_of(out / "videos" / f"{noisy.clip_id}.mp4")
    assert len(decoded) == len(rendered)
    middle = slice(80000, 90000)
    assert np.corrcoef(rendered[0, middle], decoded[0, middle])[0, 1] > 0.95
