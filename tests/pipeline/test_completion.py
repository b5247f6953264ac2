"""What a shell asks when TAB is pressed is answered; nothing heavy is loaded for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from heavy import HEAVY

PROGRAM = (
    "import atexit, sys\n"
    "atexit.register(lambda: print('@' + ' '.join(sys.modules), file=sys.stderr))\n"
    "sys.argv = ['avpipe', *sys.argv[1:]]\n"
    "from avpipe.__main__ import main\nmain()"
)


def ask(folder: Path, *arguments: str, **variables: str) -> str:
    """Run avpipe with these variables; return what it printed, and see that it loaded little."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stderr.rpartition("@")[2].split()}
    assert loaded & HEAVY <= {"rich"}  # Typer writes the help that zsh and fish show with it
    return done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("avpipe tr", ["train"]),
        ("avpipe train --re", ["--recipe"]),
        ("avpipe evaluate --branch ", ["online", "momentum", "ema"]),
    ],
)
def test_bash_completes(words: str, expected: list[str], tmp_path: Path) -> None:
    at = str(len(words.split(" ")) - 1)
    said = ask(tmp_path, _AVPIPE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=at)
    assert said.split() == expected


def test_zsh_and_fish_complete(tmp_path: Path) -> None:
    said = ask(tmp_path, _AVPIPE_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="avpipe tr")
    assert '"train":"Train a localizer' in said
    asked = {"_TYPER_COMPLETE_ARGS": "avpipe tr", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    said = ask(tmp_path, _AVPIPE_COMPLETE="complete_fish", **asked)
    assert said.startswith("train\t")


def test_it_installs(tmp_path: Path) -> None:
    said = ask(
        tmp_path, "--install-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )
    assert "bash completion installed" in said
    assert (
        "complete -o default -F _avpipe_completion avpipe"
        in (tmp_path / ".bash_completions/avpipe.sh").read_text()
    )
    assert ".bash_completions/avpipe.sh" in (tmp_path / ".bashrc").read_text()
