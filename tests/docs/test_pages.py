"""The pages say what the program does: their commands are run, the help they hold is compared."""

import re
import shlex
from pathlib import Path

import pytest
from avpipe.pipeline import cli
from avpipe.pipeline.docs import page
from avpipe.pipeline.main import main
from avpipe.stages.synth.run import synth

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def console_commands(path: Path) -> list[str]:
    """Return the lines after `$ ` in a page's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_the_page_of_commands_is_what_the_program_says() -> None:
    written = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    assert written == page(), "run `make docs`"


def test_every_command_has_help_and_a_place_in_the_page() -> None:
    for info in cli.app.registered_commands:
        assert info.callback is not None and info.callback.__doc__
        assert f"## avpipe {info.name}\n" in page()
    for settings in cli.commands().values():
        assert all(setting.help for setting in settings.values())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_make_targets_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
    named = [words.split()[1:] for words in console_commands(path) if words.startswith("make")]
    named += [[word] for word in re.findall(r"`make ([a-z-]+)", path.read_text(encoding="utf-8"))]
    assert {word for words in named for word in words} <= targets


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


@pytest.mark.usefixtures("one_thread")
def test_the_first_steps_run_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, with fewer clips: importing PyTorch takes longer than most commands do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # waiting threads crawl on a busy machine
    made = synth(Path("made"), clips=3, classes=8, jobs=1).videos
    made.rename("videos")
    text = (ROOT / "docs/first-steps.md").read_text(encoding="utf-8")
    assert "--clips 40\n" in text
    text = text.replace("--clips 40\n", "--clips 20\n")
    num_commands = 0
    for language, block in re.findall(r"```(console|python)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            exec(block, {"__name__": "__main__"})
            continue
        words = [line[2:] for line in block.splitlines() if line.startswith("$ avpipe ")]
        num_commands += len(words)
        for command in words:
            code = main(shlex.split(command, comments=True)[1:])
            assert code == 0, (command, capsys.readouterr())
    assert num_commands >= 15
    assert Path("localized/sheet.png").exists()
