"""Can clips be decoded here: which codecs, and does a clip come back from the child process?"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

import av
from av.codec import Codec

from ...drafts import temporary_folder
from ...errors import AvpipeError, ClipError, MissingDependencyError
from ...stages.features import FeatureParams
from ...stages.media.decoders.ffmpeg import check_program as check_made_clip
from ...stages.media.decoders.ffmpeg import program, version
from ...stages.synth import MIN_TRAINED
from ...stages.synth.encode import encode_clip
from ...stages.synth.scenes import plan_clips
from ...stages.synth.world import draw_classes
from ...stages.workers.decoder import DecoderChild
from .finding import Check, ok, problem, warning

CODECS = {
    "H.264": ("h264",),
    "HEVC": ("hevc",),
    "VP8": ("vp8", "libvpx"),
    "VP9": ("vp9", "libvpx-vp9"),
    "AV1": ("libdav1d", "libaom-av1"),  # FFmpeg's own `av1` needs a GPU
    "AAC": ("aac",),
    "MP3": ("mp3", "mp3float"),
    "Vorbis": ("vorbis", "libvorbis"),
    "Opus": ("opus", "libopus"),
}
"""What videos of the datasets are made with, and FFmpeg's names of what decodes each."""
_REINSTALL = 'pip install --force-reinstall "av>=17.1,<20"'


def check_decoder() -> list[Check]:
    """Look at PyAV's decoders, and decode a clip as `extract` does."""
    known = {name for names in CODECS.values() for name in names if _is_decoder(name)}
    ffmpeg = getattr(av, "ffmpeg_version_info", "")
    checks = [_codecs("decoder", f"PyAV {av.__version__}, FFmpeg {ffmpeg}", known)]
    try:
        seconds = _decode_made_clip()
    except (AvpipeError, ClipError) as error:
        found = f"a made clip is not decoded in a child process: {error}"
        return [*checks, problem("isolation", found, _REINSTALL)]
    return [*checks, ok("isolation", f"a clip is decoded in a child process, {seconds:.2f} s")]


def check_program() -> Check:
    """Look at the `ffmpeg` program, which only `--decoder ffmpeg` uses."""
    name = "ffmpeg"
    try:
        path, found = program(), version()
        check_made_clip()
    except MissingDependencyError as error:
        return warning(name, f"{error}; the default decoder does without it",
                       "pip install imageio-ffmpeg")  # fmt: skip
    words = [path, "-hide_banner", "-decoders"]
    output = subprocess.run(words, capture_output=True, check=True).stdout.decode(errors="replace")
    known = set(re.findall(r"(?m)^ [VA]\S{5} (\S+)", output))
    owner = "imageio-ffmpeg's" if "imageio_ffmpeg" in path else "the system's"
    return _codecs(name, f"{owner} {found} (for --decoder ffmpeg)", known)


def _codecs(name: str, title: str, known: Collection[str]) -> Check:
    """Say which codecs a decoder knows."""
    lacking = [codec for codec, names in CODECS.items() if not set(names) & set(known)]
    if not lacking:
        return ok(name, f"{title}: {', '.join(CODECS)}")
    other = "ffmpeg" if name == "decoder" else "pyav"
    return warning(
        name,
        f"{title} lacks {', '.join(lacking)}: such clips will fail",
        f"avpipe extract --decoder {other}, if that one has them",
    )


def _is_decoder(name: str) -> bool:
    try:
        return bool(Codec(name, "r").is_decoder)
    except ValueError:  # the codec is not known
        return False


def _decode_made_clip() -> float:
    """Decode a synthetic clip twice as `extract` does; return the seconds of the second time."""
    classes = draw_classes(0, MIN_TRAINED)
    (clip, *_) = plan_clips(0, classes, num_train=1, num_objects=2, size=(0.3, 0.4))
    with temporary_folder() as folder, DecoderChild(FeatureParams()) as child:
        path = Path(folder) / "clip.mp4"
        path.write_bytes(encode_clip(clip, classes, 0))
        child.row({"path": str(path)})  # the child's start is no clip's time
        started = time.perf_counter()
        child.row({"path": str(path)})
        return time.perf_counter() - started
