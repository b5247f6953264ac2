"""Samples per second on one core: the trainer's data, a loader like SLAVC's, and a memmap floor.

First batches as the trainer's loader gives them: frames uint8, wide spectrograms float16; it cuts
and normalises them on the device. Then what the network takes, all of it made on this core: a
mirrored or plain crop of 224 x 224 and the centre 3 s of the spectrogram, float32, normalised.
"""

from __future__ import annotations

import io
import tempfile
import wave
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
import torch
from avpipe.cache.schema import AUDIO_RATE_HZ
from avpipe.stages.features import Row, make_row
from avpipe.stages.spectrogram import resample
from avpipe.train.data.augment import IMAGE_MEAN, IMAGE_STD, training_views
from avpipe.train.data.batches import Batch, Pick, Source, Stream
from avpipe.train.data.clips import ClipReader, short_side
from avpipe.train.data.crops import random_crops
from avpipe.train.data.sources import Resident
from avpipe.train.device import keep_freed_memory
from avpipe.train.recipe import Recipe, load_recipe
from clips import bench_clips
from common import (
    add_clock,
    clock,
    interleave,
    parser,
    pin_to_one_core,
    ratio,
    report,
    table,
    typical,
)
from numpy.typing import NDArray
from PIL import Image
from read import CENTRE, make_cache
from scipy.signal import spectrogram  # type: ignore[import-untyped]
from torch import Tensor

NUM_CLIPS = 512  # of the cache's 2,048: decoded, they fit in memory on any machine
BATCH = 64
ROUNDS = 5
RATE_HZ = 22_050
WANTED_SLAVC, WANTED_FLOOR = 16, 1.15
FLOOR, STREAM, RESIDENT = "memmap floor", "avpipe stream", "avpipe resident"
CUT = ", cut and normalised"
SLAVC, KINDER = "SLAVC-style, wav by PyAV", "SLAVC-style, wav by `wave`"
CPU = torch.device("cpu")

Positions = NDArray[np.int64]
Pair = tuple[Tensor, Tensor]
Make = Callable[[Positions], Pair]
"""From positions among the clips to frames and spectrograms."""


def from_source(source: Source) -> Make:
    """Batches of the trainer, as they are stored."""

    def make(positions: Positions) -> Pair:
        batch = _one(source, positions)
        return batch.frames, batch.spectrograms

    return make


def seen_from_source(source: Source, recipe: Recipe) -> Make:
    """The same, cut and normalised by the trainer."""

    def make(positions: Positions) -> Pair:
        rng = np.random.default_rng(positions[:2])
        views = training_views(_one(source, positions), recipe, rng, CPU)
        return views.frames, views.spectrograms

    return make


def _one(source: Source, positions: Positions) -> Batch:
    (batch,) = source.batches([Pick.of(positions)])
    return batch


def from_memmap(folder: Path, rows: Sequence[Row]) -> Make:
    """The same values from two flat files mapped into memory: nothing is found or checked."""
    jpegs = [rows[i % len(rows)]["frame_jpeg"] for i in range(NUM_CLIPS)]
    offsets = np.cumsum([0, *(len(jpeg) for jpeg in jpegs)]).tolist()
    (folder / "frames").write_bytes(b"".join(jpegs))
    wide = np.stack([rows[i % len(rows)]["spectrogram_wide"] for i in range(NUM_CLIPS)])
    wide.tofile(folder / "wide")
    height, width = rows[0]["frame_hw"]
    stored = np.memmap(folder / "frames", np.uint8, "r")
    stored_wide = np.memmap(folder / "wide", np.float16, "r", shape=wide.shape)

    def make(positions: Positions) -> Pair:
        frames = np.empty((len(positions), height, width, 3), np.uint8)
        sounds = np.empty((len(positions), *wide.shape[1:]), np.float16)
        for i, at in enumerate(positions.tolist()):
            jpeg = stored[offsets[at] : offsets[at + 1]]
            frames[i] = np.asarray(Image.open(io.BytesIO(jpeg.data)))
            sounds[i] = stored_wide[at]
        return torch.from_numpy(frames), torch.from_numpy(sounds)

    return make


def seen_from_memmap(read: Make, recipe: Recipe) -> Make:
    """The same, each frame cut by itself; the trainer's draws, hence the trainer's result."""
    size = recipe.image_size
    mean, std = (255 * torch.tensor(of).view(3, 1, 1) for of in (IMAGE_MEAN, IMAGE_STD))

    def make(positions: Positions) -> Pair:
        stored, wide = read(positions)
        frames, rng = stored.numpy(), np.random.default_rng(positions[:2])
        boxes = random_crops(np.tile(frames.shape[1:3], (len(frames), 1)), size, rng)
        mirrored = (rng.random(len(frames)) < recipe.flip).tolist()
        cut = np.empty((len(frames), size, size, 3), np.uint8)
        for i, (top, left, _, _) in enumerate(boxes.tolist()):
            box = frames[i, top : top + size, left : left + size]
            cut[i] = box[:, ::-1] if mirrored[i] else box
        seen = torch.from_numpy(cut).permute(0, 3, 1, 2).float().sub_(mean).div_(std)
        return seen, wide[:, None, :, CENTRE].float().div_(recipe.spectrogram_std)

    return make


def write_files(folder: Path, rows: Sequence[Row], num_clips: int = NUM_CLIPS) -> None:
    """What SLAVC reads: of each clip a JPEG, the cache's, and its 10 s as a wav of 22.05 kHz."""
    sounds = []
    for row in rows:
        sound = row["waveform"].astype(np.float32) / np.float32(32767)
        heard = resample(sound, AUDIO_RATE_HZ, RATE_HZ, len(sound) * RATE_HZ // AUDIO_RATE_HZ)
        sounds.append(np.rint(32767 * heard.clip(-1, 1)).astype(np.int16))
    for i in range(num_clips):
        (folder / f"{i:06d}.jpg").write_bytes(rows[i % len(rows)]["frame_jpeg"])
        with wave.open(str(folder / f"{i:06d}.wav"), "wb") as file:
            file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
            file.writeframes(sounds[i % len(rows)].tobytes())


def pyav_sound(path: Path, start_s: float | None = None) -> NDArray[np.float64]:
    """3 s of a wav through PyAV, as SLAVC reads it: from `start_s` on, or the middle."""
    parts: list[NDArray[np.int16]] = []
    first_s = None
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        if start_s is None:
            start_s = max((container.duration or 0) / av.time_base / 2 - 1.5, 0)
        container.seek(int(start_s * av.time_base))
        resampler = av.AudioResampler("s16p", "mono")
        for frame in container.decode(stream):
            time_s = frame.time or 0.0
            first_s = time_s if first_s is None else first_s
            parts += [made.to_ndarray()[0] for made in resampler.resample(frame)]
            if time_s + frame.samples / RATE_HZ >= start_s + 3:
                break
    begin = round((start_s - (first_s or 0)) * RATE_HZ)
    return (np.concatenate(parts)[begin : begin + 3 * RATE_HZ] / 32767).clip(-1, 1)


def wave_sound(path: Path) -> NDArray[np.float64]:
    """The same with the standard library, which opens a wav far faster."""
    with wave.open(str(path)) as file:
        file.setpos(max((file.getnframes() - 3 * RATE_HZ) // 2, 0))
        data = file.readframes(3 * RATE_HZ)
    return (np.frombuffer(data, "<i2") / 32767).clip(-1, 1)


def plain_crop(frame: Image.Image, rng: np.random.Generator) -> Image.Image:
    """SLAVC's crop: the short side becomes 246, a square of 224 is cut and mirrored or not."""
    scale = 246 / min(frame.size)
    frame = frame.resize(
        (round(frame.width * scale), round(frame.height * scale)), Image.Resampling.BICUBIC
    )
    left, top = (int(rng.integers(side - 224 + 1)) for side in frame.size)
    frame = frame.crop((left, top, left + 224, top + 224))
    return frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else frame


def to_tensor(frame: Image.Image) -> Tensor:
    """ToTensor and Normalize."""
    mean, std = (torch.tensor(of).view(3, 1, 1) for of in (IMAGE_MEAN, IMAGE_STD))
    pixels = torch.from_numpy(np.array(frame)).permute(2, 0, 1).contiguous().float()
    return pixels.div_(255).sub_(mean).div_(std)


def hear(sound: NDArray[np.float64]) -> Tensor:
    """SLAVC's log-spectrogram, `(1, 257, 276)`."""
    _, _, density = spectrogram(sound, RATE_HZ, nperseg=512, noverlap=274)
    return torch.from_numpy(np.log(density + 1e-7)).float()[None].div_(12)


def like_slavc(folder: Path, read_sound: Callable[[Path], NDArray[np.float64]]) -> Make:
    """Each sample by itself from two files, then stacked."""
    rng = np.random.default_rng(0)

    def see(path: Path) -> Tensor:
        with Image.open(path) as image:
            return to_tensor(plain_crop(image.convert("RGB"), rng))

    def make(positions: Positions) -> Pair:
        names = [folder / f"{at:06d}" for at in positions.tolist()]
        samples = [
            (see(name.with_suffix(".jpg")), hear(read_sound(name.with_suffix(".wav"))))
            for name in names
        ]
        frames, sounds = zip(*samples, strict=True)
        return torch.stack(frames), torch.stack(sounds)

    return make


def check(methods: dict[str, Make], positions: Positions) -> None:
    """See that all give the same: exactly, to rounding, or in kind where SLAVC draws its own."""
    made = {name: make(positions) for name, make in methods.items()}
    for name in (STREAM, RESIDENT):
        for found, wanted in zip(made[name], made[FLOOR], strict=True):
            assert torch.equal(found, wanted), name
        for found, wanted in zip(made[name + CUT], made[FLOOR + CUT], strict=True):
            assert torch.allclose(found, wanted, atol=1e-4), name
    frames, sounds = made[FLOOR + CUT]
    for name in (SLAVC, KINDER):
        assert made[name][0].shape == frames.shape and made[name][1].shape == sounds.shape
        assert torch.equal(made[name][1], made[SLAVC][1])
        assert float((made[name][1] - sounds).abs().median()) < 0.05, "not the same 3 s"


def in_words(ms: dict[str, float]) -> str:
    """A table from milliseconds per sample."""
    body = []
    for name, value in ms.items():
        floor = ms[FLOOR if name in (FLOOR, STREAM, RESIDENT) else FLOOR + CUT]
        speed = f"{1000 / value:.0f}"
        body.append((name, f"{value:.3f}", speed, value / floor, ms[SLAVC] / value))
    rows = table(("batch", "ms/sample", "samples/s", "x floor", "x SLAVC-style"), body)
    wanted = f"wanted: stream >= {WANTED_SLAVC} x SLAVC-style, <= {WANTED_FLOOR} x the floor"
    return f"{rows}\n\n{wanted}"


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    add_clock(options)
    arguments = options.parse_args()
    recipe = load_recipe("slavc")
    rows = [make_row(str(clip)) for clip in bench_clips()]
    torch.set_num_threads(1)
    core = pin_to_one_core()
    keep_freed_memory()  # as the trainer does on a CPU
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, rows)
        for row in rows:
            row["waveform"] = row["waveform"][:0]
        (folder / "cache").mkdir()
        cache = make_cache(folder / "cache", rows)
        reader = ClipReader(cache, cache.rows[:NUM_CLIPS], short_side(recipe.image_resize))
        floor = from_memmap(folder, rows)
        methods = {FLOOR: floor, FLOOR + CUT: seen_from_memmap(floor, recipe)}
        sources: dict[str, Source] = {
            STREAM: Stream(reader, 1),
            RESIDENT: Resident(reader, 1, CPU),
        }
        for key, source in sources.items():
            methods[key] = from_source(source)
            methods[key + CUT] = seen_from_source(source, recipe)
        methods[SLAVC] = like_slavc(folder, pyav_sound)
        methods[KINDER] = like_slavc(folder, wave_sound)
        order = np.random.default_rng(0).permutation(NUM_CLIPS)
        check(methods, order[-8:])
        seconds = interleave(methods, [order[:BATCH]], ROUNDS, clock(cpu_time=arguments.cpu_time))
    ms = {key: 1000 * typical(values) / BATCH for key, values in seconds.items()}
    counted = "CPU time" if arguments.cpu_time else "wall time"
    text = f"random clips, batches of {BATCH}, files in memory, core {core}, {counted}\n\n"
    text += in_words(ms)
    floor_times = ratio(seconds[STREAM], seconds[FLOOR])
    slavc_times = ratio(seconds[SLAVC], seconds[STREAM])
    headline = [
        ("`stream`, as stored, against the memmap floor", f"{floor_times} times",
         f"<= {WANTED_FLOOR}"),
        ("`stream`, as stored, as fast as SLAVC-style", f"{slavc_times} times",
         f">= {WANTED_SLAVC}"),
    ]  # fmt: skip
    ratios = {"times_floor": asdict(floor_times), "times_slavc": asdict(slavc_times)}
    figures = {"ms_per_sample": ms, "counted": counted, **ratios}
    report("loader", figures, text, as_json=arguments.json, headline=headline)


if __name__ == "__main__":
    main()
