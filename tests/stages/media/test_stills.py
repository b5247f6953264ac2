"""Pictures that come as JPEG: as they stand where nothing has to change, upright where it has."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.errors import ClipError
from avpipe.stages.features import FeatureParams, make_row
from avpipe.stages.media import DECODERS
from media_factory import sound, write_wav
from numpy.typing import NDArray
from PIL import Image, ImageOps

SIZE = (320, 256)


def drawing() -> Image.Image:
    """Return a picture of 32-pixel squares, no two alike, no symmetry."""
    colours = np.random.default_rng(0).integers(0, 255, (8, 10, 3), dtype=np.uint8)
    return Image.fromarray(colours.repeat(32, 0).repeat(32, 1))


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("sound") / "a.wav"
    return str(write_wav(path, np.stack([sound(4.0, 16000)]), 16000))


def pixels(content: bytes) -> NDArray[np.float64]:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(float)


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


KEPT: dict[str, dict[str, Any]] = {
    "plain": {},
    "poor": {"quality": 30},
    "progressive": {"progressive": True},
    "4:4:4": {"subsampling": 0},
    "EXIF that says upright": {"exif": exif(1)},
    "EXIF without an orientation": {"exif": Image.Exif()},
    "a comment": {"comment": b"from a camera"},
}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", KEPT)
def test_a_jpeg_of_the_right_size_keeps_its_bytes(
    name: str, decoder: str, wav: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    drawing().save(path, **{"quality": 90, **KEPT[name]})
    row = make_row(str(path), audio_path=wav, params=FeatureParams(decoder=decoder))
    assert row["frame_jpeg"] == path.read_bytes()
    assert row["frame_hw"] == SIZE[::-1]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_jpeg_that_lies_otherwise_is_turned(
    orientation: int, decoder: str, wav: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    drawing().save(path, quality=90, exif=exif(orientation))
    row = make_row(str(path), audio_path=wav, params=FeatureParams(decoder=decoder))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path))).astype(float)
    got = pixels(row["frame_jpeg"])
    assert got.shape == expected.shape
    assert np.abs(got - expected).mean() < 2
    assert row["frame_jpeg"] != path.read_bytes()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours_become_rgb(mode: str, wav: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    drawing().convert(mode).save(path, quality=90)
    row = make_row(str(path), audio_path=wav)
    assert Image.open(io.BytesIO(row["frame_jpeg"])).mode == "RGB"
    assert np.abs(pixels(row["frame_jpeg"]) - pixels(path.read_bytes())).mean() < 5


def test_other_sizes_and_pixels_that_are_not_square_are_scaled(wav: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    drawing().resize((640, 512)).save(path)
    assert make_row(str(path), audio_path=wav)["frame_hw"] == (256, 320)
    drawing().save(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"JFIF\0")
    data[at + 7 : at + 12] = bytes([0, 0, 1, 0, 2])  # pixels half as wide as they are high
    path.write_bytes(data)
    row = make_row(str(path), audio_path=wav)
    assert row["frame_hw"] == (410, 256)
    assert row["frame_jpeg"] != bytes(data)


def test_a_damaged_jpeg_is_not_kept(wav: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    drawing().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    row = make_row(str(path), audio_path=wav)
    assert row["frame_jpeg"] != path.read_bytes()
    assert pixels(row["frame_jpeg"]).shape == (256, 320, 3)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_png_is_a_clip_beside_a_sound_alone(decoder: str, wav: str, tmp_path: Path) -> None:
    """AVSBench's frames are PNGs; a PNG that should hold its own sound is no media."""
    path = tmp_path / "a.png"
    drawing().save(path)
    row = make_row(str(path), audio_path=wav, params=FeatureParams(decoder=decoder))
    assert row["frame_hw"] == SIZE[::-1]
    assert row["frame_sample"] == 2 * 32_000  # the middle of 4 s of sound
    assert np.abs(pixels(row["frame_jpeg"]) - np.asarray(drawing()).astype(float)).mean() < 4
    with pytest.raises(ClipError, match="not_media"):
        make_row(str(path), params=FeatureParams(decoder=decoder))
