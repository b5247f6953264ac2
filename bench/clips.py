"""Make the clips that the benches decode, like VGGSound's. Prints where they are."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

CLIP_SECONDS = 10

# As most of VGGSound: 360p, x264's defaults (B-frames, a key frame every 250 pictures), AAC; noisy
# pictures at no more than the 1 Mbit/s that YouTube's help names for 360p.
# PNS is off because the noise it makes depends on where decoding starts.
_ENCODING = (
    "-c:v libx264 -preset medium -crf 26 -maxrate 1M -bufsize 2M -g 250 -pix_fmt yuv420p "
    "-c:a aac -aac_pns 0 -b:a 128k -ac 2 -ar 44100 -movflags +faststart"
)
_SIZE = "size=640x360:rate={rate}"
_PAN = (
    "movie={photo}:loop=0,setpts=N/({rate}*TB),fps={rate},"
    "crop=640:360:'(iw-ow)*(0.5+0.5*sin({speed}*t))':'(ih-oh)*(0.5+0.5*cos(0.6*{speed}*t))'"
)
_KINDS = {  # filter graphs; photo-like pans are what most of the set's cost resembles
    "pan": _PAN,
    "grain": _PAN + ",noise=alls=6:allf=t",
    "pattern": f"testsrc2={_SIZE},rotate='0.02*{{speed}}*t'",
    "fractal": f"mandelbrot={_SIZE}:start_scale={{speed}}:end_scale=0.01:maxiter=300",
    "life": f"life={_SIZE}:mold=10:ratio=0.1:seed={{number}}:death_color=#203040",
    "cuts": ";".join(
        f"{_PAN},noise=alls=3:allf=t,{'negate' if cut % 2 else 'hflip'},"
        f"trim={2.5 * cut}:{2.5 * cut + 2.5},setpts=PTS-STARTPTS[cut{cut}]"
        for cut in range(4)
    )
    + ";[cut0][cut1][cut2][cut3]concat=n=4",
}
_SOUND = (
    "aevalsrc='0.3*sin(2*PI*{hz}*t)*abs(sin(3*t))|0.3*sin(2*PI*1.5*{hz}*t)':s=44100[tone];"
    "anoisesrc=c=pink:a=0.3:seed={number}:r=44100,aformat=cl=stereo[noise];[tone][noise]amix=2"
)


def bench_clips() -> list[Path]:
    """Make 24 clips of 10 s (once: they stay in the temporary folder), half 25 and half 30 fps."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"avpipe-bench-{recipe}"
    folder.mkdir(exist_ok=True)
    clips = []
    for number in range(24):
        kind = list(_KINDS)[number % len(_KINDS)]
        clip = folder / f"{kind}{number:02d}.mp4"
        if not clip.exists():
            _make(clip, _KINDS[kind], number)
        clips.append(clip)
    return clips


def _make(clip: Path, graph: str, number: int) -> None:
    photo = _photo(clip.with_suffix(".png"), number)
    picture = graph.format(
        photo=photo,
        rate=25 if number % 12 < 6 else 30,
        speed=0.2 + 0.1 * (number % 5),
        number=number,
    )
    sound = _SOUND.format(hz=220 + 40 * number, number=number)
    part = clip.with_suffix(".part.mp4")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-filter_complex"]
    command += [f"{picture}[picture];{sound}[sound]", "-map", "[picture]", "-map", "[sound]"]
    command += ["-t", str(CLIP_SECONDS), *_ENCODING.split(), str(part)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    part.rename(clip)
    photo.unlink()


def _photo(path: Path, seed: int) -> Path:
    """A picture with a photograph's spectrum: noise of every scale, the finer the weaker."""
    rng = np.random.default_rng(seed)
    total = np.zeros((720, 1280, 3), np.float32)
    for octave in range(1, 10):
        size = (2**octave * 16 // 9, 2**octave)
        noise = rng.normal(size=(size[1], size[0], 3)).astype(np.float32)
        layers = [Image.fromarray(noise[..., c]).resize((1280, 720)) for c in range(3)]
        total += np.stack([np.asarray(layer) for layer in layers], axis=-1) / 1.45**octave
    scaled = 255 * (total - total.min()) / np.ptp(total)
    Image.fromarray(scaled.astype(np.uint8)).save(path)
    return path


if __name__ == "__main__":
    made = bench_clips()
    sizes = sorted(clip.stat().st_size for clip in made)
    print(
        f"{len(made)} clips in {made[0].parent}, {sizes[0] / 1e6:.2f} to {sizes[-1] / 1e6:.2f} MB,"
    )
    print(f"median {sizes[len(sizes) // 2] / 1e6:.2f} MB")
