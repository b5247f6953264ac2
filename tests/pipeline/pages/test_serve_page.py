"""The page of `serve` in a real browser, as somebody would use it."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from browser import Browser, missing, open_browser, wait_for
from cache_factory import make_cache
from evaluation_factory import TINY
from media_factory import picture, sound, write_clip, write_wav
from PIL import Image

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=missing() or "there"),
    pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is not installed"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    made = tmp_path_factory.mktemp("page")
    cache = make_cache(made / "cache", 16)
    train(cache, load_recipe("compact", TINY), made / "run", device="cpu")
    Image.fromarray(picture(5, (320, 240))).save(made / "five.png")
    write_wav(made / "noise.wav", sound(4, 16_000)[None], 16_000)
    write_clip(made / "clip.mp4", fps=8, size=(240, 240))
    write_clip(made / "mute.mp4", fps=8, seconds=1, audio=None)
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    words = ["serve", str(folder / "run"), "--cache", str(folder / "cache"), "--port", "0"]
    command = [sys.executable, "-m", "avpipe", *words, "--device", "cpu"]
    with (folder / "stderr").open("w") as stderr:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    with server:
        assert server.stdout is not None
        line = server.stdout.readline().strip()
        assert line.startswith("http://127.0.0.1:"), (folder / "stderr").read_text()
        yield line
        server.send_signal(signal.SIGTERM)
    assert server.returncode == 0
    assert "Traceback" not in (folder / "stderr").read_text()


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    with open_browser(folder / "profile") as opened:
        yield opened


def panels(browser: Browser) -> dict[str, str]:
    """Return what each panel's picture is, by name."""
    script = """return [...document.querySelectorAll("#result figure")]
        .map(one => [one.dataset.panel, one.querySelector("img").src])"""
    return dict(browser.run(script))


def changed(browser: Browser, before: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = wait_for(
        lambda: (now := panels(browser)) and now != before and now, "other panels"
    )
    return found


def test_a_picture_and_a_sound_become_maps_that_alpha_blends(
    browser: Browser, address: str, folder: Path
) -> None:
    browser.open(address)
    browser.type("#picture input[type=file]", str(folder / "five.png"))
    browser.type("#sound input[type=file]", str(folder / "noise.wav"))
    wait_for(lambda: browser.run("return !!document.querySelector('#picture img')"), "picture")
    wait_for(lambda: "0:04" in browser.text("#sound"), "sound")
    browser.click("#go-pair")
    first = changed(browser, {})
    assert list(first) == ["frame", "av", "objects", "blend"]
    assert len(set(first.values())) == 4
    sizes = browser.run(
        "return [...document.querySelectorAll('#result img')].map(i => i.naturalHeight)"
    )
    assert sizes == [224] * 4
    wait_for(lambda: "among 16 clips" in browser.text("#near"), "neighbours")

    browser.type("#alpha input[type=range]", "\ue012" * 4)  # arrow to the left
    wait_for(lambda: "0.30 x audio-visual" in browser.text("#result"), "alpha of 0.3")
    second = panels(browser)
    assert second.pop("blend") != first.pop("blend")
    assert second == first


def test_panels_stand_two_by_two_where_there_is_room(browser: Browser, address: str) -> None:
    script = """return [...document.querySelectorAll("#result figure")]
        .map(one => one.getBoundingClientRect().top)"""
    for width, num_rows in ((1400, 2), (1200, 2), (390, 4)):
        browser.resize(width, 900)
        browser.open(address)
        browser.click("#go-pair-examples tbody tr")
        changed(browser, {})
        assert len(set(browser.run(script))) == num_rows
    browser.resize(1280, 900)


def test_a_clip_too_and_examples(browser: Browser, address: str, folder: Path) -> None:
    browser.open(address)
    browser.click("[role=tab]:nth-of-type(2)")
    browser.type("#clip input[type=file]", str(folder / "clip.mp4"))
    wait_for(lambda: browser.run("return !!document.querySelector('#clip video')"), "clip")
    browser.click("#go-clip")
    own = changed(browser, {})
    browser.click("#go-clip-examples button")
    example = changed(browser, own)
    assert not set(own.values()) & set(example.values())


def test_an_unusable_file_is_one_line_on_the_page(
    browser: Browser, address: str, folder: Path
) -> None:
    browser.open(address)
    browser.click("#go-pair")
    wait_for(lambda: browser.text(".av-problem") == "Choose a picture first.", "the problem")
    browser.click("[role=tab]:nth-of-type(2)")
    browser.type("#clip input[type=file]", str(folder / "mute.mp4"))
    wait_for(lambda: browser.run("return !!document.querySelector('#clip video')"), "clip")
    browser.click("#go-clip")
    wait_for(lambda: "mute.mp4 has no sound" in browser.text(".av-problem"), "the problem")


def test_a_phone_shows_all_of_it_and_nobody_else_is_asked(browser: Browser, address: str) -> None:
    browser.resize(390, 844)
    browser.open(address)
    browser.click("#go-pair-examples tbody tr")
    changed(browser, {})
    assert browser.run("return document.documentElement.scrollWidth") <= 390
    wait_for(lambda: browser.run("return scrollY") > 0, "the result in view")
    assert browser.hosts() == {"127.0.0.1"}  # of all that this file loaded


def test_files_over_the_limit_are_refused(address: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    body += bytes(65 << 20) + b"\r\n--x--\r\n"
    request = urllib.request.Request(
        f"{address}/gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError) as raised:
        opener.open(request)
    raised.value.close()
    assert raised.value.code == 413
