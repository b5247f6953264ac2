"""Files that no clip can be made of, each with the reason it fails for."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from media_factory import H264, run_ffmpeg, write_clip

Maker = Callable[[Path], Path]


def written(name: str, content: bytes) -> Maker:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def playlist(name: str, template: str) -> Maker:
    """Write a text that points to a real clip beside it."""

    def make(folder: Path) -> Path:
        clip = write_clip(folder / "real.ts", seconds=1.0)
        (folder / name).write_text(template.format(name=clip.name, path=clip))
        return folder / name

    return make


def cut(keep: float, *, index_first: bool, suffix: str = "mp4") -> Maker:
    """Keep the first part of a clip, by bytes."""

    def make(folder: Path) -> Path:
        flags = ("-movflags", "+faststart") if index_first and suffix == "mp4" else ()
        whole = write_clip(folder / f"whole.{suffix}", output=flags).read_bytes()
        return written(f"cut.{suffix}", whole[: int(len(whole) * keep)])(folder)

    return make


def lying_header(folder: Path) -> Path:
    """Write a webm whose header says 40 s, and whose clusters end after 4 s."""
    path = folder / "lie.webm"
    one_thread = ("-c:v", "libvpx", "-b:v", "1M", "-threads", "1")  # several spin as they wait
    write_clip(path, video=one_thread, audio=("-c:a", "libvorbis"))
    data = path.read_bytes()
    at = data.index(b"\x44\x89\x88") + 3  # the element Duration, a float64 in milliseconds
    path.write_bytes(data[:at] + struct.pack(">d", 40_000.0) + data[at + 8 :])
    return path


def claims(side: int) -> Maker:
    """Write a QuickTime clip whose header claims pictures of `side` x `side`."""

    def make(folder: Path) -> Path:
        video = ("-c:v", "qtrle", "-pix_fmt", "rgb24")
        path = write_clip(folder / "a.mov", video=video, seconds=0.5, size=(64, 48))
        data = bytearray(path.read_bytes())
        at = data.index(b"rle ") + 28  # width and height of the sample description
        assert struct.unpack_from(">HH", data, at) == (64, 48)
        struct.pack_into(">HH", data, at, side, side)
        path.write_bytes(data)
        return path

    return make


def thin(folder: Path) -> Path:
    return write_clip(folder / "thin.mkv", size=(4096, 2), video=("-c:v", "ffv1"), seconds=1.0)


def cover_art(folder: Path) -> Path:
    clip = write_clip(folder / "a.mp4", seconds=1.0)
    run_ffmpeg("-i", clip, "-frames:v", "1", folder / "cover.png")
    art = ("-map", "0:a", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic")
    run_ffmpeg("-i", clip, "-i", folder / "cover.png", *art, folder / "song.m4a")
    return folder / "song.m4a"


def mp3_cover_art(folder: Path) -> Path:
    run_ffmpeg("-i", cover_art(folder), "-map", "0", "-c:v", "copy", folder / "song.mp3")
    return folder / "song.mp3"


def damaged_from(share: float) -> Maker:
    """Overwrite all samples from there on with noise."""

    def make(folder: Path) -> Path:
        path = write_clip(folder / "a.mp4", video=(*H264, "-g", "999"))
        data = bytearray(path.read_bytes())
        begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
        begin += int((end - begin) * share)
        data[begin:end] = np.random.default_rng(5).bytes(end - begin)
        path.write_bytes(data)
        return path

    return make


def nan_sound(folder: Path) -> Path:
    path = folder / "nan.mov"
    nothing = np.full(4 * 44100, np.nan, "<f4")
    (folder / "nan.f32").write_bytes(nothing.tobytes())
    clip = write_clip(folder / "a.mov", audio=None)
    raw = ("-f", "f32le", "-ar", "44100", "-ac", "1", "-i", folder / "nan.f32")
    run_ffmpeg("-i", clip, *raw, "-c:v", "copy", "-c:a", "pcm_f32le", path)
    return path


def absurd_table(folder: Path) -> Path:
    """Write an MP4 with a table of half a billion entries: FFmpeg cannot allocate it."""
    path = write_clip(folder / "a.mp4", seconds=1.0)
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, data.index(b"stts") + 8, 0x1FFFFFF0)
    path.write_bytes(data)
    return path


def audio_elsewhere(folder: Path) -> Path:
    """Write a clip of 30 s whose sound ends after 2 s."""
    return write_clip(folder / "a.mkv", seconds=30.0, fps=5, audio_seconds=2.0)


BAD = {
    "no such file": (lambda folder: folder / "gone.mp4", "missing"),
    "a file as a folder": (lambda folder: written("f", b"x")(folder) / "a.mp4", "missing"),
    "a dangling link": (lambda folder: _link(folder, folder / "gone.mp4"), "missing"),
    "a link to itself": (lambda folder: _link(folder, folder / "link.mp4"), "io_error"),
    "zero bytes": (written("a.mp4", b""), "empty"),
    "HTML": (written("a.mp4", b"<!DOCTYPE html><html><body>429</body></html>"), "not_media"),
    "text": (written("a.mp4", b"file not found\n" * 500), "not_media"),
    "noise": (written("a.mp4", np.random.default_rng(1).bytes(50_000)), "not_media"),
    "zeros": (written("a.mp4", bytes(50_000)), "not_media"),
    "HLS": (playlist("a.mp4", "#EXTM3U\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n"), "not_media"),
    "HLS, absolute": (playlist("a.mp4", "#EXTM3U\n#EXTINF:1,\n{path}\n"), "not_media"),
    "concat": (playlist("a.mp4", "ffconcat version 1.0\nfile '{name}'\n"), "not_media"),
    "subtitles": (written("a.mp4", b"1\n00:00:01,000 --> 00:00:02,000\nHi\n"), "not_media"),
    "a picture": (lambda folder: _png(folder), "not_media"),
    "a folder": (lambda folder: folder, "not_media"),
    "a FIFO": (lambda folder: _fifo(folder), "not_media"),
    "a device": (lambda folder: Path("/dev/zero"), "not_media"),
    "no sound": (lambda folder: write_clip(folder / "a.mp4", audio=None), "no_audio"),
    "0.1 s without sound": (
        lambda folder: write_clip(folder / "a.mp4", audio=None, seconds=0.1, fps=30),
        "no_audio",
    ),
    "sound that ended long ago": (audio_elsewhere, "no_audio"),
    "only sound": (lambda folder: write_clip(folder / "a.mp4", video=None), "no_video"),
    "wav": (
        lambda folder: write_clip(folder / "a.wav", video=None, audio=("-c:a", "pcm_s16le")),
        "no_video",
    ),
    "a song with a cover": (cover_art, "no_video"),
    "an mp3 with a cover": (mp3_cover_art, "no_video"),
    "0.1 s": (lambda folder: write_clip(folder / "a.mp4", seconds=0.1, fps=30), "too_short"),
    "10000 x 10000": (claims(10_000), "too_large"),
    "20000 x 20000": (claims(20_000), "too_large"),
    "too thin for a JPEG": (thin, "too_large"),
    "mp4 without its index": (cut(0.6, index_first=False), "truncated"),
    "mp4, cut to its first bytes": (written("a.mp4", b"\0\0\0\x20ftypisom\0\0"), "truncated"),
    "mp4, index first, cut": (cut(0.4, index_first=True), "truncated"),
    "mp4, cut inside its index": (cut(0.02, index_first=True), "truncated"),
    "webm, cut": (cut(0.45, index_first=True, suffix="mkv"), "truncated"),
    "webm, cut inside its header": (cut(0.002, index_first=True, suffix="mkv"), "truncated"),
    "flv, cut": (cut(0.3, index_first=True, suffix="flv"), "truncated"),
    "a header that lies about the length": (lying_header, "truncated"),
    "noise instead of pictures": (damaged_from(0.3), "decode_error"),
    "sound that is not a number": (nan_sound, "decode_error"),
    "a table of half a billion entries": (absurd_table, "decode_error"),
}


def _link(folder: Path, target: Path) -> Path:
    (folder / "link.mp4").symlink_to(target)
    return folder / "link.mp4"


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "fifo.mp4")
    return folder / "fifo.mp4"


def _png(folder: Path) -> Path:
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48", "-frames:v", "1", folder / "a.png")
    return (folder / "a.png").rename(folder / "a.mp4")
