"""Strips: pictures of a film above its sound, both where the film has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from avpipe.pipeline.localize.film import write_video
from avpipe.pipeline.localize.strip import KeptMoments
from avpipe.pipeline.main import main
from avpipe.stages.film import finished
from avpipe.stages.film.finished import film_sound
from avpipe.stages.film.run import RenderChild
from avpipe.train.show.strip import num_panels
from PIL import Image
from pitch import PITCH, low_then_high


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("strip")
    line = {"path": str(low_then_high(folder / "source.mp4"))}
    film, strip = folder / "film.mp4", folder / "film.strip.png"
    with RenderChild() as child:
        write_video(PITCH, child, "film", line, film, strip=strip)
    return film, strip


def pitch_hz(columns: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the loudest frequency of each column."""
    return columns.argmax(axis=0) * rate_hz / 512


def test_the_sound_is_where_the_film_has_it(made: tuple[Path, Path]) -> None:
    sound = film_sound(made[0])
    assert sound.duration_s == pytest.approx(8.0, abs=0.01)
    hertz = pitch_hz(sound.log_power, sound.rate_hz)
    times_s = (np.arange(len(hertz)) + 0.5) * sound.duration_s / len(hertz)
    high = np.abs(hertz - 3000) < 50
    assert np.abs(hertz[~high] - 300).max() < 50
    assert times_s[high].min() == pytest.approx(4.0, abs=0.05)
    assert high[times_s > 4.1].all() and not high[times_s < 3.9].any()


def test_columns_of_a_long_film_are_means_of_power(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    each = film_sound(made[0]).log_power
    monkeypatch.setattr(finished, "MAX_COLUMNS", 100)
    few = film_sound(made[0]).log_power
    joined = -(-each.shape[1] // 100)
    assert few.shape[1] == -(-each.shape[1] // joined) <= 100
    for number in range(few.shape[1] - 1):
        power = np.exp(each[:, number * joined : (number + 1) * joined]).mean(axis=1)
        assert few[:, number] == pytest.approx(np.log(power), abs=1e-3)


def test_its_pictures_follow_the_sound(made: tuple[Path, Path]) -> None:
    with Image.open(made[1]) as picture:
        pixels = np.asarray(picture.convert("RGB"), float)
    assert pixels.shape[1] == 960
    row = pixels[60:90].mean(axis=(0, 2))
    halves = np.array_split(row[46:954], 2 * num_panels(3, 4))  # left and right of each picture
    pairs = zip(halves[::2], halves[1::2], strict=True)
    lean = np.array([right.mean() - left.mean() for left, right in pairs])
    assert lean[:2].max() < lean[-2:].min() - 50


def test_moments_are_kept_from_all_over_a_film_of_any_length() -> None:
    for count in (1, 31, 64, 5000):
        kept, frame = KeptMoments(), np.zeros((1, 1, 3), np.uint8)
        for number in range(count):
            kept.add(number, number / 2, frame)
        assert min(count, 32) <= len(kept.numbers) == len(kept.frames) < 64
        steps = set(np.diff(kept.numbers).tolist())
        assert len(steps) <= 1 and kept.numbers[0] == 0
        assert count - kept.numbers[-1] <= max(steps, default=1)
        assert kept.times_s == [number / 2 for number in kept.numbers]


def test_a_strip_is_of_a_film(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["localize", str(tmp_path), "--strip", "--run", "run"]) == 2
    assert "--strip is of a film: add --video" in capsys.readouterr().err
