"""Composed worlds: files, boxes and sounds against what they are made of; splits, bad material."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from avpipe.errors import InputError, UsageError
from avpipe.pipeline.main import main
from avpipe.stages.media import decode_clip
from avpipe.stages.synth import load
from avpipe.stages.synth.case_worlds import open_world
from avpipe.stages.synth.compose import excerpt, with_noise
from avpipe.stages.synth.composed import plan_composed
from avpipe.stages.synth.folder import fill
from avpipe.stages.synth.hard import KINDS
from avpipe.stages.synth.material import label_of, read_material
from avpipe.train.benchmarks.synth import load as load_benchmark
from material_factory import CLASSES, COLOURS, TONES_HZ, make_material, write_photo, write_tone
from PIL import Image

REAL = Path(__file__).parents[3] / "shared" / "real" / "material"
NUM_CLIPS, NUM_TEST = 9, 14


def compose(out: Path, material: Path, jobs: int = 1, **options: Any) -> tuple[str, ...]:
    """Compose a world; return what is told."""
    folders = (material / name for name in ("photos", "sounds", "backgrounds"))
    options = {"clips": NUM_CLIPS, "num_test": NUM_TEST, "held_out": "siren", **options}
    plan, notes = plan_composed(read_material(*folders, jobs=jobs), **options)
    fill(out, plan, jobs=jobs)
    return notes


def words(out: Path, material: Path, *more: str) -> list[str]:
    folders = [f"--{name}={material / name}" for name in ("photos", "sounds", "backgrounds")]
    return ["synth", str(out), *folders, "--clips", "2", "--jobs", "1", *more]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def world(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("composed") / "world"
    compose(out, material)
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def labels(world: Path) -> dict[str, dict[str, str]]:
    return {row["id"]: row for row in rows(world / "labels.csv")}


def contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def samples_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])


def power_of(path: Path) -> np.ndarray:
    """Power in bins of 5 Hz, mean over the clip: `(4410,)`."""
    wave = samples_of(path)[:176400].reshape(-1, 8820)
    return (np.abs(np.fft.rfft(wave * np.hanning(8820))) ** 2).mean(0)


# -- what is made ---------------------------------------------------------------------------------


def test_the_same_material_gives_the_same_bytes_wherever_it_lies(
    world: Path, material: Path, tmp_path: Path
) -> None:
    elsewhere = shutil.copytree(material, tmp_path / "elsewhere")
    compose(tmp_path / "again", elsewhere, jobs=2)
    first, again = contents(world), contents(tmp_path / "again")
    assert json.loads(again.pop("material.json"))["photos"] == str(elsewhere / "photos")
    del first["material.json"]
    sums = [found.pop("SHA256SUMS").decode().splitlines() for found in (first, again)]
    differ = {line.partition("  ")[2] for line in set(sums[0]).symmetric_difference(sums[1])
              if line[0] != "#"}  # fmt: skip
    assert differ == {"material.json"}
    assert again == first
    compose(tmp_path / "other", material, seed=1)
    videos = {name for name in contents(tmp_path / "other") if name.endswith(".mp4")}
    assert videos.isdisjoint(first)


def test_no_file_of_training_is_in_test(world: Path) -> None:
    used: dict[str, set[str]] = {"train": set(), "test": set()}
    clips = labels(world)
    for row in rows(world / "made_of.csv"):
        clip = clips[row.pop("id")]
        files = {f"{kind.rstrip('12')}/{name}" for kind, name in row.items() if name}
        used[clip["split"]] |= files
        on_screen = [] if clip["offscreen"] == "1" else [clip["label"]]
        assert row["sound"].split("/")[0] == clip["label"]
        photos = [row["photo1"], row["photo2"]]
        assert [name.split("/")[0] for name in photos] == [*on_screen, *clip["silent"].split()]
    assert used["train"] and used["test"] and not used["train"] & used["test"]
    assert not any("siren/" in name for name in used["train"])
    assert any("sound/siren/" in name for name in used["test"])


def test_the_lists_make_a_benchmark(world: Path) -> None:
    clips = labels(world)
    assert {row["split"] for row in clips.values()} == {"train", "test"}
    assert sum(row["split"] == "test" for row in clips.values()) == NUM_TEST
    counts = load_benchmark(world).counts
    assert counts["heard"]["offscreen"] == 2
    assert counts["heard"]["positive"] + counts["unheard"]["positive"] == NUM_TEST - 2
    assert counts["unheard"]["positive"] == 3
    assert counts["heard"]["mismatched"] == 2
    assert counts["heard"]["swapped"] > 0
    record = json.loads((world / "world.json").read_text())
    assert record["held_out"] == ["siren"] and len(record["material"]) == 64
    assert {"pillow", "soxr", "av"} <= set(record["versions"])


def test_boxes_bound_what_is_seen_and_no_hidden_colour_shows(world: Path) -> None:
    """Discs on grey: each box holds its class's colour up to its sides, the rest of it nowhere."""
    clips = labels(world)
    sounding = {e["file"]: e for e in json.loads((world / "vggss.json").read_text())}
    silent = {e["file"]: e for e in json.loads((world / "silent_boxes.json").read_text())}
    for name, entry in silent.items():
        frame = decode_clip(str(world / clips[name]["path"])).frame.astype(int)
        coloured = np.ptp(frame, axis=-1) > 60
        both = [*([sounding[name]] if name in sounding else []), entry]
        known = [
            (label, np.rint(256 * np.array(box)).astype(int))
            for one in both
            for label, box in zip(one["class"].split(" "), one["bbox"], strict=True)
        ]
        assert len(known) == 2
        for label, (x1, y1, x2, y2) in known:
            part = coloured[y1:y2, x1:x2]
            y, x = np.nonzero(part)
            found = (x.min(), y.min(), x.max() + 1, y.max() + 1)
            np.testing.assert_allclose(found, (0, 0, x2 - x1, y2 - y1), atol=4)
            assert 0.7 < part.mean() < 0.85  # a disc has pi / 4 of its box
            centre = frame[(y1 + y2) // 2, (x1 + x2) // 2]
            assert np.abs(centre - COLOURS[label]).max() < 75
            assert 0.25 * 256 < np.sqrt((x2 - x1) * (y2 - y1)) < 0.43 * 256
            coloured[max(y1 - 4, 0) : y2 + 4, max(x1 - 4, 0) : x2 + 4] = False
        assert coloured.mean() < 0.001


@pytest.mark.parametrize("num_objects", [2, 3])
def test_large_objects_of_any_shape_fit(num_objects: int, tmp_path: Path) -> None:
    own = make_material(tmp_path / "own")
    for label in CLASSES:
        for number, size in enumerate([(300, 90), (90, 300), (200, 200), (400, 4)]):
            path = own / "photos" / label / f"{number}.png"
            Image.new("RGB", size, tuple(np.add(COLOURS[label], number))).save(path)
    folders = (own / name for name in ("photos", "sounds", "backgrounds"))
    plan, _ = plan_composed(
        read_material(*folders), clips=60, num_objects=num_objects, size=(0.45, 0.45), held_out="0"
    )
    for clip in plan.clips:
        canvas = np.zeros((256, 256), int)
        for x1, y1, x2, y2 in (thing.box_px for thing in clip.objects):
            assert 0 <= x1 < x2 <= 256 and 0 <= y1 < y2 <= 256
            canvas[y1:y2, x1:x2] += 1
        assert canvas.max() == 1
        assert len(clip.objects) == num_objects or clip.offscreen


def test_only_the_class_of_the_label_is_heard(world: Path) -> None:
    peaks = set()
    for row in labels(world).values():
        power = power_of(world / row["path"])
        strongest_hz = 5 * int(power.argmax())
        assert abs(strongest_hz - TONES_HZ[row["label"]] - 16) <= 30
        tone = power[max(strongest_hz // 5 - 12, 0) : strongest_hz // 5 + 13].sum()
        ratio_db = 10 * np.log10(tone / (power.sum() - tone))
        assert 8 < ratio_db < 36  # 12 to 30 dB of pink noise, less what lies under the tone
        peaks.add(round(float(np.abs(samples_of(world / row["path"])).max()), 2))
    assert min(peaks) > 0.15 and max(peaks) <= 1
    assert max(peaks) / min(peaks) > 1.5


def test_the_product_takes_it(world: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert main(["extract", str(world / "videos"), "--cache", str(cache), "--jobs", "1"]) == 0
    cases = open_world(world)
    planned = cases.plan(1)
    assert [case.kind for case in planned] == list(KINDS)
    for case in planned:
        (tmp_path / f"{case.name}.mp4").write_bytes(cases.encode(case))
        clip = decode_clip(str(tmp_path / f"{case.name}.mp4"))
        assert (np.abs(clip.waveform).max() == 0) == (case.kind.name == "silent")
        assert all(cases.classes[one].name != "siren" for one in case.heard)


def test_a_world_goes_on_with_the_same_material_only(material: Path, tmp_path: Path) -> None:
    own = shutil.copytree(material, tmp_path / "own")
    out = tmp_path / "world"
    compose(out, own, clips=2, num_test=1)
    video = sorted((out / "videos").iterdir())[0]
    before = video.read_bytes()
    video.unlink()
    compose(out, own, clips=2, num_test=1)
    assert video.read_bytes() == before
    write_tone(own / "sounds/bell/new.wav", 555)
    with pytest.raises(UsageError, match="another world \\(material"):
        compose(out, own, clips=2, num_test=1)


# -- material -------------------------------------------------------------------------------------


def test_a_list_says_the_splits(material: Path, tmp_path: Path) -> None:
    own = shutil.copytree(material, tmp_path / "own")
    lines = ["path,class,kind,split"]
    for path in sorted(own.rglob("*.*")):
        split = {"0": "test", "3": "spare"}.get(path.stem, "train")
        lines.append(f"{path.relative_to(own).as_posix()},x,y,{split}")
    (own / "splits.csv").write_text("\n".join([*lines, "photos/gone.png,x,photo,train"]))
    notes = compose(tmp_path / "w", own, clips=12, num_test=4, splits=own / "splits.csv")
    assert any(note.startswith("9 files are left out: --splits") for note in notes)
    clips = labels(tmp_path / "w")
    for row in rows(tmp_path / "w" / "made_of.csv"):
        split = clips[row.pop("id")]["split"]
        stems = {Path(name).stem for name in row.values()}
        assert stems == {"0"} if split == "test" else stems <= {"1", "2"}
    (own / "bad.csv").write_text("path,split\nphotos/bell/0.png\n")
    with pytest.raises(InputError, match=r"bad.csv: line 2 has no split"):
        compose(tmp_path / "w2", own, splits=own / "bad.csv")
    (own / "bad.csv").write_text("path,split\nphotos/a\0b.png,train\n")
    with pytest.raises(InputError, match=r"bad.csv: line 2: the path holds a NUL"):
        compose(tmp_path / "w2", own, splits=own / "bad.csv")


def test_every_file_is_used_before_one_comes_again(material: Path, tmp_path: Path) -> None:
    notes = compose(tmp_path / "w", material, clips=9, num_test=1)
    assert not any("more than once" in note for note in notes)
    made = rows(tmp_path / "w" / "made_of.csv")[:9]
    assert len({row["sound"] for row in made}) == 9  # three classes of three files for training


def test_reuse_is_said_once(material: Path, tmp_path: Path) -> None:
    notes = compose(tmp_path / "w", material, clips=10, num_test=1)
    assert [note for note in notes if "used more than once" in note] == [
        "recordings are used more than once: 9 recordings make 10 clips of train"
    ]


def test_photographs_without_alpha_are_rectangles_with_soft_edges(tmp_path: Path) -> None:
    Image.new("RGB", (320, 160), (200, 10, 10)).save(tmp_path / "a.jpg")
    pixels, _ = load.read("photo", str(tmp_path / "a.jpg"))
    assert pixels.shape == (144, 288, 4)
    opacity = pixels[..., 3]
    assert opacity.min() >= 32 and opacity[0].max() < 128
    assert (opacity[12:-12, 12:-12] == 255).all()
    assert (opacity == opacity[::-1, ::-1]).all()


def test_recordings_are_mono_at_one_rate_and_cut(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav", 1000, seconds=32, rate_hz=8000)
    samples, _ = load.read("sound", str(tmp_path / "a.wav"))
    assert samples.shape == (44100 * 30,)
    assert np.abs(samples).max() == 32767
    part = samples[44100 : 44100 + 8820].astype(float)
    assert 5 * int(np.abs(np.fft.rfft(part)).argmax()) == 1000


def test_an_excerpt_of_a_recording_with_pauses_is_heard() -> None:
    recording = np.zeros(30 * 44100, np.int16)
    recording[-44100 * 6 :] = 20000
    levels = [np.abs(excerpt(recording, np.random.default_rng(n))).mean() for n in range(20)]
    assert np.mean(np.array(levels) > 0.05) > 0.6  # a start taken blindly is one of five
    short = np.full(9000, 20000, np.int16)
    wave = excerpt(short, np.random.default_rng(0))
    assert wave.shape == (176400,) and 0.2 < (wave > 0).mean() < 0.9


def test_noise_lies_below_the_sound_by_what_is_asked() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(176400) / 44100).astype(np.float32)
    for below_db in (6.0, 40.0):
        (mixed,) = with_noise(tone, (below_db, below_db), np.random.default_rng(1))
        gain = float(mixed @ tone) / float(tone @ tone)
        rest = mixed / gain - tone
        assert 20 * np.log10(tone.std() / rest.std()) == pytest.approx(below_db, abs=0.1)


def test_what_is_kept_of_files_is_bounded() -> None:
    kept = load._Recent(1000)
    for number in range(5):
        kept.add(str(number), np.zeros(400, np.uint8))
        kept.get("0")
    assert kept.get("0") is not None and kept.get("4") is not None
    assert kept.get("1") is None and kept.get("3") is None


def test_a_file_that_changes_meanwhile_stops_the_run(material: Path, tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    shutil.copy(material / "photos/bell/0.png", path)
    pixels, digest = load.read("photo", str(path))
    file = load.MaterialFile("photo", "bell", "0.png", str(path), digest, pixels.shape)
    write_photo(path, (1, 2, 3))
    load._kept._arrays.pop(digest, None)
    with pytest.raises(InputError, match="changed while in use"):
        load.load(file)


def test_names_of_any_bytes(material: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    own = shutil.copytree(material, tmp_path / "own")
    for kind in ("photos", "sounds"):
        (own / kind / "bell").rename(own / kind / "bell, big")
        (own / kind / "drum").rename(Path(os.fsdecode(os.fsencode(own / kind) + b"/dr\xffm")))
        (own / kind / "horn").rename(own / kind / "h\nörn ☎")
    odd = os.fsencode(own / "sounds/bell, big")
    os.rename(odd + b"/0.wav", odd + b"/\xfe\n,0.wav")  # noqa: PTH104 - names in bytes
    (own / "photos/siren/.hidden.png").write_text("no picture")
    out = tmp_path / "w"
    assert main(words(out, own, "--held-out", "siren", "--test", "6", "--json")) == 0
    made = json.loads(capfd.readouterr().out)
    assert (made["num_classes"], made["num_unusable"], made["num_photos"]) == (4, 0, 16)
    found = {row["label"] for row in labels(out).values()}
    assert found <= {"bell__big", "dr_m", "h_örn_☎", "siren"}
    assert all(" " not in name and "," not in name for name in found)
    load_benchmark(out)
    assert label_of("cafe\u0301") == label_of("caf\u00e9")


# -- bad material ---------------------------------------------------------------------------------


def test_what_cannot_be_used_is_named_and_counted(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = shutil.copytree(material, tmp_path / "own")
    (own / "photos/bell/broken.png").write_bytes((own / "photos/bell/0.png").read_bytes()[:90])
    Image.new("RGBA", (30, 30), (9, 9, 9, 0)).save(own / "photos/bell/clear.png")
    shutil.copy(own / "photos/bell/1.png", own / "photos/bell/twice.png")
    (own / "sounds/drum/text.wav").write_text("no sound")
    write_tone(own / "sounds/drum/short.wav", 900, seconds=0.15)
    write_tone(own / "sounds/drum/silent.wav", 0)
    (own / "photos/bell/notes.txt").write_text("mine")
    (own / "photos/harp").mkdir()
    write_tone(own / "sounds/harp/0.wav", 50)
    write_tone(own / "sounds/lute/0.wav", 60)
    assert main(words(tmp_path / "w", own, "--json")) == 0
    captured = capsys.readouterr()
    made = json.loads(captured.out)
    assert made["num_unusable"] == 6
    told = {Path(path).name: reason for path, reason in made["unusable"].items()}
    assert set(told) == {"broken.png", "clear.png", "twice.png", "text.wav", "short.wav",
                         "silent.wav"}  # fmt: skip
    assert "0.15 s" in told["short.wav"] and "transparent" in told["clear.png"]
    for name, reason in told.items():
        (line,) = [line for line in captured.err.splitlines() if name in line.split(" is ")[0]]
        assert line.endswith(f"is left out: {reason}")
    assert "1 file is neither" in captured.err
    assert "class harp is left out: no photograph that can be used" in captured.err
    assert f"class lute is left out: no folder in {own / 'photos'}" in captured.err
    assert {row["label"] for row in labels(tmp_path / "w").values()} <= set(CLASSES)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--photos", "p"], "name --sounds and --backgrounds too"),
        (["--sounds", "s", "--photos", "p"], "name --backgrounds too"),
        (["--held-out", "2"], "--held-out goes with --photos, --sounds and --backgrounds"),
        (["--splits", "x.csv"], "--splits goes with --photos"),
        (["--noise", "3", "9"], "--noise goes with --photos"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_some_of_the_options(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["synth", str(tmp_path / "w"), *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--classes", "4"], 2, "--classes does not go with --photos"),
        (["--held-out", "tuba"], 2, "no such class; there are bell, drum, horn, siren"),
        (["--held-out", "bell,drum,horn"], 2, "leaves 1 to train with"),
        (["--held-out", "4"], 2, "--held-out 4: of 4 classes"),
        (["--noise", "30", "12"], 2, "--noise 30.0,12.0"),
        (["--size", "0.3", "0.9"], 2, "--size"),
        (["--splits", "none.csv"], 4, "none.csv: No such file"),
        (["--photos", "nowhere"], 4, "nowhere: No such file or directory; name it with --photos"),
        (["--sounds", __file__], 4, "name it with --sounds"),
    ],
    ids=lambda value: " ".join(value[:2])[:20] if isinstance(value, list) else "",
)
def test_options_that_do_not_fit(
    material: Path,
    more: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(tmp_path / "w", material, *more)) == code
    line = capsys.readouterr().err.splitlines()[-1]
    assert message in line and line.startswith("avpipe: error: ")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("kept", [(), ("bell",)], ids=["no class", "one class"])
def test_too_few_classes(
    material: Path, kept: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    for name in ("photos", "sounds"):
        (own / name).mkdir(parents=True)
        for label in kept:
            (own / name / label).symlink_to(material / name / label)
    (own / "backgrounds").symlink_to(material / "backgrounds")
    assert main(words(tmp_path / "w", own)) == 4
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"too few classes to train with: {len(kept)}, at least 2 are needed" in line


def test_pictures_that_lie_in_no_class(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--photos", str(material / "backgrounds"))
    assert main(words(tmp_path / "w", material, *more)) == 4
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(f"needed; {material / 'backgrounds'} has no folder for a class")


def test_files_beside_the_folders_of_classes_are_told(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = shutil.copytree(material, tmp_path / "own")
    write_photo(own / "photos/stray.png", (1, 2, 3))
    write_tone(own / "sounds/a.wav", 700)
    write_tone(own / "sounds/b.wav", 800)
    (own / "photos/readme.txt").write_text("mine")
    assert main(words(tmp_path / "w", own)) == 0
    told = capsys.readouterr().err
    assert f"{own}/photos: 1 photograph in no folder of a class, left out: stray.png\n" in told
    assert f"{own}/sounds: 2 recordings in no folder of a class, left out: a.wav, ...\n" in told


def test_two_classes_do(material: Path, tmp_path: Path) -> None:
    own = make_material(tmp_path / "own", CLASSES[:2])
    compose(tmp_path / "w", own, clips=2, num_test=7, held_out="0")
    test = load_benchmark(tmp_path / "w")
    assert test.counts["heard"] == {"positive": 6, "offscreen": 1, "mismatched": 0, "swapped": 6}
    flat = test.score(lambda pairs: np.zeros((len(pairs), 224, 224), np.float32)).scores["heard"]
    assert flat["right_object"] == 0.5


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_backgrounds(
    material: Path, number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "few").mkdir()
    for path in sorted((material / "backgrounds").iterdir())[:number]:
        shutil.copy(path, tmp_path / "few")
    more = ("--backgrounds", str(tmp_path / "few"))
    assert main(words(tmp_path / "w", material, *more)) == 4
    assert "few: no background for t" in capsys.readouterr().err.splitlines()[-1]


def test_two_folders_of_one_class(material: Path, tmp_path: Path) -> None:
    own = shutil.copytree(material, tmp_path / "own")
    for name in ("a b", "a_b"):
        (own / "photos" / name).mkdir()
    with pytest.raises(InputError, match="would both be class a_b; rename one"):
        compose(tmp_path / "w", own)


# -- real photographs and recordings --------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="the real material is not here")
def test_a_world_of_real_material_is_extracted(tmp_path: Path) -> None:
    own = tmp_path / "own"
    kinds = {"photos": "photo", "sounds": "sound", "backgrounds": "background"}
    listed = rows(REAL / "splits.csv")
    for folder, kind in kinds.items():
        for label in ("background",) if kind == "background" else ("cat", "dog", "grand_piano"):
            for split in ("train", "test"):
                wanted = {"kind": kind, "class": label, "split": split}
                some = [row for row in listed if wanted.items() <= row.items()][:3]
                for row in some:
                    (own / row["path"]).parent.mkdir(parents=True, exist_ok=True)
                    (own / row["path"]).symlink_to(REAL / row["path"])
        assert (own / folder).is_dir()
    shutil.copy(REAL / "splits.csv", own)
    out = tmp_path / "w"
    assert main([*words(out, own, "--splits", str(own / "splits.csv")), "--test", "10"]) == 0
    cache = str(tmp_path / "cache")
    assert main(["extract", str(out / "videos"), "--cache", cache, "--jobs", "1"]) == 0
    assert load_benchmark(out).num_official == 8
