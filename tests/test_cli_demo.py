"""The demo: a small one every day, the real one with its promises among the slow tests."""

import json
from pathlib import Path

import pytest
from avpipe.errors import UsageError
from avpipe.pipeline.demo import NUM_CLIPS, demo
from avpipe.pipeline.main import main

PROMISED = {
    "right_object": 0.90,
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
    out = Path("out")
    demo(out, clips=40, epochs=1)
    said = capsys.readouterr().out
    assert "RANDOM weights" in said
    for name in ("audio-visual map", "sounds shuffled", "center prior", "saliency"):
        assert f"\n{name}" in said
    assert (out / "hero.png").exists()
    assert len(list((out / "pictures").glob("*.png"))) >= 3
    assert not Path("elsewhere").exists()
    assert not Path("mine").exists()

    demo(out, clips=40, epochs=1)
    assert "0 videos made, 52 were there" in capsys.readouterr().out
    with pytest.raises(UsageError, match="another demo"):
        demo(out, seed=1, clips=40, epochs=1)
    monkeypatch.chdir(out)  # the demo's settings serve whoever goes on there
    monkeypatch.delenv("AVPIPE_CACHE")
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clips"]["done"] == 52


def test_the_demo_takes_no_folder_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is a file: name a folder"):
        demo(tmp_path / "file")
    with pytest.raises(UsageError, match="not empty, and holds no demo"):
        demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    (tmp_path / "avpipe.toml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="another demo"):
        demo(tmp_path)
    (tmp_path / "avpipe.toml").unlink()
    (tmp_path / "avpipe.toml").mkdir()
    with pytest.raises(UsageError, match="another demo"):
        demo(tmp_path)


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
    assert NUM_CLIPS >= 800
    assert run["n_scored"] >= 240
    scores, chance = run["scores"]["av"], run["scores"]["av_shuffled"]
    assert {name: scores[name] for name, least in PROMISED.items() if scores[name] < least} == {}
    assert abs(chance["right_object"] - 0.5) <= 0.1
    assert abs(chance["auroc_offscreen"] - 0.5) <= 0.1
