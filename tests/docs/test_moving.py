"""docs/moving.md: small folders of the peers' layouts go through its commands."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from avpipe.cache.store import Cache
from avpipe.pipeline.main import main
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.record import read_record
from evaluation_factory import SOUNDING
from media_factory import picture, sound, write_clip, write_wav
from peer_factory import network_of, write_released
from PIL import Image
from processes import close_decoders

PAGE = (Path(__file__).parents[2] / "docs/moving.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.usefixtures("one_thread")
CUT, WHOLE = "---g-f_I2yQ", "abcdefghijk"


def write_pair(frame: Path, audio: Path, rate_hz: int, seconds: float) -> None:
    for path in (frame, audio):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(1, (320, 240))).save(frame)
    write_wav(audio, sound(seconds, rate_hz)[None], rate_hz)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Everything that the page's commands name, small."""
    for name in ("10000130166", "abcdefghijk_000030"):
        data = tmp_path / "slavc_data"
        write_pair(data / f"frames/{name}.jpg", data / f"audio/{name}.wav", 16000, 10)
    shutil.copy(data / "frames/10000130166.jpg", data / "frames/7.jpg")  # a picture without sound
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / f"videos/{CUT}_000001.mp4", seconds=1.0)
    write_clip(tmp_path / f"videos/{WHOLE}.mp4", seconds=4.0)
    lines = f"{CUT},1,people marching,test\n{WHOLE},0,dog barking,train\n"
    (tmp_path / "vggsound.csv").write_text(lines)
    name = f"{CUT}_1000_11000"
    frame, wav = f"frames/{name}/image_050.jpg", f"audio/{name}.wav"
    write_pair(tmp_path / frame, tmp_path / wav, 16000, 10)
    metadata = tmp_path / "metadata"
    metadata.mkdir()
    (metadata / "vggss_test.csv").write_text(f"{CUT}_000001\n")
    (metadata / "vggss_10k.txt").write_text(f"{CUT}_000001\n{WHOLE}_000000")
    boxes = [{"file": f"{CUT}_000001", "class": "people marching", "bbox": [SOUNDING]}]
    (metadata / "vggss.json").write_text(json.dumps(boxes))
    (tmp_path / "released").mkdir()
    write_released(tmp_path / "released", "ez-vsl", network_of("ez-vsl"))
    for path, text in re.findall(r"```text file=(\S+)\n(.*?)```", PAGE, re.DOTALL):
        (tmp_path / path).write_text(text)
    return tmp_path


def test_every_example_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("AVPIPE_JOBS", "1")
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", "no-weights")
    (released,) = Path("released").iterdir()
    released.rename("released/best.pth")
    said = {}
    for command in re.findall(r"(?m)^\$ (.+)$", PAGE):
        if command.startswith("avpipe "):
            assert main(shlex.split(command)[1:]) == 0, command
            said[command.split()[1]] = capsys.readouterr().out
        else:
            subprocess.run(command, shell=True, check=True)
    close_decoders()
    assert sorted(Cache("pairs").ids) == ["10000130166", "abcdefghijk_000030"]
    assert [(failed.id, failed.reason) for failed in Cache("pairs").failures()] == [
        ("7", "missing")
    ]
    assert sorted(Cache("vgg").ids) == sorted([f"{CUT}_000001", f"{WHOLE}_000000"])
    assert Cache("aligned").ids == [f"{CUT}_000001"]
    assert "vggss, protocol ez-vsl, maps corners: 1 of 1 clips scored" in said["evaluate"]
    assert "leaked: released was trained on 1 test clips" in said["evaluate"]
    assert len(read_record(Path("runs/released")).ids) == 2


def test_its_settings_are_accepted() -> None:
    settings = re.findall(r"`--set ([^`]+)`", PAGE)
    assert len(settings) == 6
    load_recipe("slavc", settings)
