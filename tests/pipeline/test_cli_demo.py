"""The demo: every day a small one; the real one is slow, and keeps its promises."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from avpipe.errors import UsageError
from avpipe.pipeline.commands.demo import demo as command
from avpipe.pipeline.demo import FULL, SHORT, Extent
from avpipe.pipeline.demo import run as demo_module
from avpipe.pipeline.demo.pace import MachinePace, measure_pace
from avpipe.pipeline.demo.run import demo
from avpipe.pipeline.demo.stages import stages_of
from avpipe.pipeline.main import main

PROMISED = {
    "right_object": 0.95,
    "swapped_right_object": 0.75,
    "auroc_offscreen": 0.90,
    "loc_acc_adaptive": 0.75,
}


@pytest.mark.usefixtures("one_thread")
def test_a_small_demo_goes_the_whole_way_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVPIPE_CACHE", "elsewhere")
    Path("avpipe.toml").write_text('cache = "mine"\n')
    out = Path("my out")
    pace = MachinePace(cores=4, free=2.0, make_s=5.0, decode_s=1.0, step_s=60.0, pass_s=15.0)
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(demo_module, "measure_pace", lambda *how: asked.append(how) or pace)
    monkeypatch.setattr(demo_module, "NUM_PICTURES", 3)
    small = replace(SHORT, clips=24, taught=10, teach_passes=2.0)
    demo(out, seed=0, extent=small, epochs=1, threads="1")
    said = capsys.readouterr().out
    assert asked == [("compact", "1")]
    assert "This machine is busy: other programs leave 2.0 of 4 cores." in said
    # 31.2 videos; one step, and short stages in steps, or by the clips they take
    seconds = [78, 15.6, 60, 24 * 0.08 * 60, 50 * 60, 10 * 2 * 15, 10 * 0.04 * 60]
    assert f"About {sum(seconds) / 60:.1f} min on 4 cores.\n" in said
    for number, about in enumerate(seconds, 1):
        assert f" (about {about:.0f} s)\n    $ avpipe" in said.partition(f"[{number}/7] ")[2]
    assert said.count(" --threads 1\n") == 5  # all but synth and extract
    assert "\n    32 done, 0 were there, " in said  # shards are done whole: 16 clips, two teachers
    assert "\n    20 done, 0 were there, " in said  # neighbours of 10 clips, by sight and by sound
    assert len((out / "teachers.txt").read_text().split()) == 10
    assert json.loads((out / "run/seed0/run.json").read_text())["threads"] == 1
    assert "\n    $ avpipe evaluate 'my out/run' --threads 1\n" in said
    assert "\nGo on: cd 'my out' && " in said
    assert "RANDOM weights" in said
    for name in ("audio-visual map", "sounds shuffled", "center prior", "saliency"):
        assert f"\n{name}" in said
    assert (out / "hero.png").exists()
    assert len(list((out / "pictures").glob("*.png"))) >= 3
    assert not Path("elsewhere").exists()
    assert not Path("mine").exists()

    demo(out, seed=0, extent=small, epochs=1, threads="auto")
    said = capsys.readouterr().out
    assert "0 videos made, 31 were there" in said
    assert len(asked) == 1 and "about" not in said.lower()
    with pytest.raises(UsageError, match="another demo"):
        demo(out, seed=1, extent=small, epochs=1, threads="auto")
    monkeypatch.chdir(out)  # the demo's settings serve whoever goes on there
    monkeypatch.delenv("AVPIPE_CACHE")
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clips"]["done"] == 31


def test_what_is_measured_is_of_this_machine() -> None:
    pace = measure_pace("compact", "1")
    assert pace.cores >= 1 and 0 < pace.free < pace.cores + 0.5
    assert min(pace.make_s, pace.decode_s, pace.step_s, pace.pass_s) > 0
    assert pace.decode_s < pace.make_s < 10


def test_a_machine_is_busy_when_a_fifth_of_it_is_gone() -> None:
    quiet = MachinePace(cores=2, free=1.7, make_s=0, decode_s=0, step_s=0, pass_s=0)
    assert quiet.busy == "" and "1.5 of 2 cores" in replace(quiet, free=1.5).busy


def test_a_full_demo_goes_as_far_as_it_did() -> None:
    stages = {
        stage.words[0]: stage
        for stage in stages_of(Path("o"), FULL, seed=3, steps=9, threads="auto", known="nothing")
    }
    assert stages["synth"].words == ("synth", "o/synth", "--clips", "1280", "--seed", "3")
    assert stages["embed-teachers"].words == ("embed-teachers",)  # of every clip
    assert stages["knn"].words == ("knn",)
    pace = MachinePace(cores=2, free=2.0, make_s=0, decode_s=0, step_s=0, pass_s=1.0)
    assert stages["embed-teachers"].about_s(pace) == pytest.approx(1664 * 3.8)
    assert (FULL.visual, FULL.audio, FULL.steps) == ("detr-r50", "panns-cnn14", 550)


@pytest.mark.parametrize(("words", "extent"), [((), SHORT), (("--full",), FULL)])
def test_the_option_full_chooses_the_extent(
    words: tuple[str, ...], extent: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(demo_module, "demo", lambda out, **options: asked.append(options))
    assert main(["demo", "somewhere", *words, "--weights", "pretrained"]) == 0
    assert main(["demo", "somewhere", *words, "--clips", "99"]) == 0
    assert [one["extent"] for one in asked] == [extent, replace(extent, clips=99)]
    assert [one["weights"] for one in asked] == ["pretrained", "random"]


def test_the_demo_takes_no_folder_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is a file: name a folder"):
        command(tmp_path / "file")
    with pytest.raises(UsageError, match="not empty, and holds no demo"):
        command(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    (tmp_path / "avpipe.toml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="another demo"):
        command(tmp_path)
    (tmp_path / "avpipe.toml").unlink()
    (tmp_path / "avpipe.toml").mkdir()
    with pytest.raises(UsageError, match="another demo"):
        command(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demo_keeps_its_promises(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", f"{tmp_path}/out", "--seed", str(seed)]) == 0
    capsys.readouterr()
    words = f"evaluate {tmp_path}/out/run --cache {tmp_path}/out/avcache --json"
    assert main([*words.split(), "--annotations", f"{tmp_path}/out/synth"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["n_scored"] >= 80
    scores, chance = run["scores"]["av"], run["scores"]["av_shuffled"]
    assert {name: scores[name] for name, least in PROMISED.items() if scores[name] < least} == {}
    assert abs(chance["right_object"] - 0.5) <= 0.1
    assert abs(chance["auroc_offscreen"] - 0.5) <= 0.1
