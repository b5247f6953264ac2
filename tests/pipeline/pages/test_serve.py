"""What the page of `serve` is made of, without a browser: files in, maps and HTML out."""

from __future__ import annotations

import base64
import io
import re
import socket
import sys
import threading
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avpipe.errors import InputError, MissingDependencyError, UsageError
from avpipe.pipeline.localize.files import sound_around_frame
from avpipe.pipeline.main import main
from avpipe.pipeline.pages.serve import answers
from avpipe.pipeline.pages.serve.answers import MAX_PIXELS, MAX_UPLOAD_MB, TIMEOUT_S, Demo
from avpipe.pipeline.pages.serve.examples import write_examples
from avpipe.pipeline.pages.serve.form import answer
from avpipe.pipeline.pages.serve.nearest import MAX_CLIPS, Nearest, embed_cache
from avpipe.pipeline.pages.serve.panels import neighbors, panels, problem
from avpipe.pipeline.pages.serve.run import serve
from avpipe.stages.features import make_row
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.localizer import Localizer, load_run
from avpipe.train.score.controls import saliency
from cache_factory import TONES_HZ, make_cache
from command_pages import section
from evaluation_factory import TINY
from media_factory import picture, sound, write_clip, write_wav
from PIL import Image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    made = tmp_path_factory.mktemp("serve")
    cache = make_cache(made / "cache", 20)
    train(cache, load_recipe("compact", TINY), made / "run", device="cpu")
    Image.fromarray(picture(5, (320, 240))).save(made / "five.png")
    write_wav(made / "noise.wav", sound(5, 16_000)[None], 16_000)
    write_clip(made / "clip.mp4", fps=8)
    return made


@pytest.fixture(scope="module")
def localizer(folder: Path) -> Localizer:
    return load_run(folder / "run", "cpu")


@pytest.fixture(scope="module")
def demo(localizer: Localizer) -> Iterator[Demo]:
    with Demo(localizer, "object map (saliency)", "contrast", saliency) as made:
        yield made


def images(html: str) -> dict[str, np.ndarray]:
    """Return the pictures of the panels by name."""
    pattern = r'data-panel="(\w+)".*?src="data:image/jpeg;base64,([^"]+)"'
    return {
        name: np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)
        for name, data in re.findall(pattern, html)
    }


def test_a_clip_is_localized_as_localize_does(
    demo: Demo, localizer: Localizer, folder: Path
) -> None:
    found = demo.localize_clip(str(folder / "clip.mp4"))
    row = make_row(str(folder / "clip.mp4"))
    frame = np.asarray(Image.open(io.BytesIO(row["frame_jpeg"])).convert("RGB"))
    size = found.frame.shape[:2]
    assert min(size) == 224 and size[1] / size[0] == pytest.approx(4 / 3, abs=0.01)
    expected = localizer.localize(frame, sound_around_frame(row, 3.0), 32_000, size=size)
    assert found.av_map == pytest.approx(expected, abs=1e-6)
    assert found.object_map.shape == size and found.notices == ()


def test_a_picture_with_a_sound(demo: Demo, folder: Path) -> None:
    noise = demo.localize_pair(str(folder / "five.png"), str(folder / "noise.wav"))
    write_wav(folder / "still.wav", np.zeros((1, 32_000), np.float32), 16_000)
    still = demo.localize_pair(str(folder / "five.png"), str(folder / "still.wav"))
    assert np.abs(noise.frame[30, 30].astype(int) - (200, 30, 30)).max() < 20
    assert np.abs(noise.av_map - still.av_map).max() > 1e-3
    assert noise.notices == () and "silence" in still.notices[0]
    write_wav(folder / "short.wav", sound(1, 16_000)[None], 16_000)
    short = demo.localize_pair(str(folder / "five.png"), str(folder / "short.wav"))
    assert "repeated" in panels(short, 0.5)


def test_alpha_mixes_what_was_kept(
    demo: Demo, localizer: Localizer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = demo.localize_clip(str(folder / "clip.mp4"))
    monkeypatch.delattr(Localizer, "localize")
    monkeypatch.delattr(Localizer, "embed")
    by_sight, half, by_sound = (images(panels(found, alpha)) for alpha in (0.0, 0.5, 1.0))
    assert list(half) == ["frame", "av", "objects", "blend"]
    assert half["blend"].shape == (*found.frame.shape[:2], 3)
    assert np.abs(by_sound["blend"] - by_sound["av"]).mean() < 0.5
    assert np.abs(by_sight["blend"] - by_sight["objects"]).mean() < 0.5
    assert np.abs(half["blend"] - by_sound["blend"]).mean() > 2
    for name in ("frame", "av", "objects"):
        assert (half[name] == by_sound[name]).all()


def test_panels_say_what_they_show(demo: Demo, folder: Path) -> None:
    found = demo.localize_clip(str(folder / "clip.mp4"))
    html = panels(found, 0.35)
    assert "0.35 x audio-visual + 0.65 x object" in html
    for value in (found.av_map.min(), found.av_map.max()):
        assert f"<span>{value:.2f}</span>" in html
    assert '<div class="av-unit">contrast</div>' in html
    objects = replace(found, object_unit="mean activity")
    assert '<div class="av-unit">mean activity</div>' in panels(objects, 0.35)


@pytest.mark.parametrize(
    ("picture_file", "sound_file", "told"),
    [
        (None, "noise.wav", "Choose a picture first"),
        ("five.png", None, "Choose a sound first"),
        ("noise.wav", "noise.wav", r"noise.wav cannot be used \(no picture that is read here\)"),
        (
            "five.png",
            "five.png",
            r"five.png cannot be used \(five.png: not a media format that is read here\)",
        ),
        ("five.png", "gone.wav", "gone.wav is gone; choose it again"),
        ("cut.png", "noise.wav", "cut.png is damaged"),
        ("empty.png", "noise.wav", "empty.png is empty"),
        ("vast.png", "noise.wav", r"vast.png is larger than 24 megapixels \(6000 x 5000\)"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_line(
    demo: Demo, folder: Path, picture_file: str | None, sound_file: str | None, told: str
) -> None:
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "five.png").read_bytes()[:300])
    if picture_file == "vast.png":
        Image.new("1", (6000, 5000)).save(folder / "vast.png")
    paths = [str(folder / name) if name else None for name in (picture_file, sound_file)]
    with pytest.raises(InputError, match=f"^{told}") as raised:
        demo.localize_pair(*paths)
    kept, shown, near = answer(demo, lambda: demo.localize_pair(*paths), 0.5)
    assert (kept, near) == (None, "") and shown == problem(str(raised.value))


def test_a_clip_without_sound_and_a_slow_one(
    demo: Demo, localizer: Localizer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(folder / "mute.mp4", fps=8, seconds=1, audio=None)
    with pytest.raises(InputError, match=r"^mute\.mp4 has no sound"):
        demo.localize_clip(str(folder / "mute.mp4"))
    with pytest.raises(InputError, match="Choose a clip first"):
        demo.localize_clip(None)
    monkeypatch.setattr(answers, "TIMEOUT_S", 0.0)
    hurried = Demo(localizer, "", "", saliency)
    with hurried, pytest.raises(InputError, match="takes longer"):
        hurried.localize_clip(str(folder / "clip.mp4"))


def test_names_cannot_become_tags() -> None:
    assert problem("<b>.png is empty") == (
        '<p class="av-problem" role="alert">&lt;b&gt;.png is empty.</p>'
    )


def test_threads_that_end_leave_the_decoder_alone(demo: Demo, folder: Path) -> None:
    pids = []

    def localize() -> None:
        demo.localize_clip(str(folder / "clip.mp4"))
        pids.append(demo._child.pid)

    for _ in range(2):
        thread = threading.Thread(target=localize)
        thread.start()
        thread.join()
    assert len(pids) == 2 and pids[0] == pids[1] and pids[0] is not None


def test_a_cached_clip_is_its_own_neighbour(folder: Path, localizer: Localizer) -> None:
    cache = make_cache(folder / "labelled", 12)
    seen: list[tuple[int, int]] = []
    nearest = embed_cache(localizer, cache, lambda done, wanted: seen.append((done, wanted)))
    assert seen == [(0, 12), (12, 12)]
    clip = cache.clip("clip006")
    assert clip.waveform is not None
    embedded = localizer.embed(clip.frame, clip.waveform[16_000:112_000], 32_000)
    assert np.linalg.norm(embedded, axis=1) == pytest.approx([1, 1], abs=1e-5)
    stored = localizer.embeddings(cache, [clip.row])[0]
    assert embedded[0] == pytest.approx(stored[0], abs=1e-5)
    assert embedded[1] @ stored[1] > 0.99  # the factory's spectrogram is of other noise
    frames, _ = nearest.like(embedded)
    assert frames[0].id == "clip006" and frames[0].similarity == pytest.approx(1, abs=1e-4)
    assert frames[0].label == "class2"


def test_neighbours_are_the_most_alike_and_can_be_heard(folder: Path, localizer: Localizer) -> None:
    cache = make_cache(folder / "neighbours", 8)
    vectors = np.random.default_rng(0).standard_normal((8, 2, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    nearest = Nearest(cache, cache.rows, vectors)
    for part, found in enumerate(nearest.like(vectors[3])):
        products = [sum(vectors[i, part] * vectors[3, part]) for i in range(8)]
        best = sorted(range(8), key=lambda i: -products[i])[:5]
        assert [one.id for one in found] == [f"clip{i:03d}" for i in best]
        assert [one.similarity for one in found] == pytest.approx([products[i] for i in best])
    first = nearest.like(vectors[3])[1][0]
    assert first.wav is not None
    with wave.open(io.BytesIO(first.wav)) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (16_000, 48_000, 1)
        heard = np.frombuffer(file.readframes(48_000), "<i2")
    assert np.abs(np.fft.rfft(heard)).argmax() / 3 == pytest.approx(TONES_HZ[3], rel=0.01)


def test_a_large_cache_is_sampled_and_the_page_says_so(
    folder: Path, localizer: Localizer, demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avpipe.pipeline.pages.serve.nearest.MAX_CLIPS", 6)
    cache = make_cache(folder / "large", 16)
    nearest = embed_cache(localizer, cache, lambda done, wanted: None)
    assert nearest.rows.tolist() == [0, 3, 6, 9, 12, 15]
    with Demo(localizer, "object map (saliency)", "contrast", saliency, nearest) as comparing:
        found = comparing.localize_clip(str(folder / "clip.mp4"))
    html = neighbors(found, nearest)
    assert "among 6 clips of large, taken evenly from its 16" in html
    assert html.count("<audio") == 5 and html.count("<img") == 10
    assert f"<br>cosine {found.sounds[0].similarity:.2f}<" in html
    assert neighbors(demo.localize_clip(str(folder / "clip.mp4")), demo.nearest) == ""


def test_examples_can_be_used(tmp_path: Path, demo: Demo) -> None:
    examples = write_examples(tmp_path)
    pictures = [picture for picture, _ in examples.pairs]
    assert pictures[0] == pictures[1] == pictures[4] != pictures[2] == pictures[3]
    sounds = [sound.read_bytes() for _, sound in examples.pairs]
    assert len(set(sounds)) == 5
    demo.localize_pair(*map(str, examples.pairs[0]))
    demo.localize_clip(str(examples.clips[0][0]))


def start(run: Path, cache: Path | None = None, port: int = 0) -> None:
    serve(run, cache, port=port, device="cpu", weights=("random",), ready=print, notify=print)


def test_without_gradio(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'avpipe\[serve\]'$") as raised:
        start(folder / "run")
    assert raised.value.exit_code == 6


def test_a_port_that_is_taken_and_runs_that_are_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avpipe.pipeline.pages.serve.run.find_spec", lambda name: object())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            UsageError, match=f"--port {port}: Address already in use; name another"
        ):
            start(folder / "run", port=port)
    with pytest.raises(InputError, match="holds no run"):
        start(tmp_path)
    for seed in (0, 1):
        (tmp_path / f"seed{seed}").mkdir()
        (tmp_path / f"seed{seed}" / "run.json").touch()
    with pytest.raises(InputError, match=r"holds several runs; name one, as in .*seed0$"):
        start(tmp_path)
    with pytest.raises(InputError, match="is no cache"):
        start(folder / "run", tmp_path)


def test_the_page_of_docs_names_what_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[dict[str, Any]] = []

    def note(
        run: Path,
        cache: Path | None,
        *,
        ready: Callable[[str], None],
        notify: Callable[[str], None],
        **options: Any,
    ) -> None:
        given.append({"run": run, "cache": cache, **options})
        notify("loading")
        ready("http://127.0.0.1:1")

    monkeypatch.setattr("avpipe.pipeline.pages.serve.run.serve", note)
    whole = (Path(__file__).parents[3] / "docs/looking.md").read_text(encoding="utf-8")
    text = section(whole, "A run in the browser")
    for words in re.findall(r"(?m)^\$ avpipe (.*)$", text):
        assert main(words.split()) == 0
    defaults = {"port": 7860, "device": "auto", "weights": ("pretrained",)}
    assert given == [{"run": Path("run"), "cache": Path("avcache"), **defaults}]
    captured = capsys.readouterr()
    assert captured.out == "http://127.0.0.1:1\n"
    assert captured.err.startswith("avpipe: loading\n")
    assert f"http://127.0.0.1:{given[0]['port']}" in text
    for limit in (f"{MAX_UPLOAD_MB} MB", f"{MAX_PIXELS // 10**6} mega", f"{TIMEOUT_S:g} s"):
        assert limit in text
    assert f"{MAX_CLIPS:,} clips" in text
    assert main(["serve"]) == 2
    assert "name the run to show" in capsys.readouterr().err
