"""`commands.json`: what is noted in a run's folder, by whom ever."""

import contextvars
import fcntl
import json
import os
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from avpipe.advice import asking
from avpipe.train.runs import made_by
from avpipe.train.runs.made_by import FILE, note, noted
from avpipe.train.runs.sealed import seal


def test_of_two_notes_at_once_one_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, others = made_by.write_whole, list[Thread]()

    def meanwhile(path: Path, content: bytes) -> None:
        if not others:  # the first has read, and has not written yet
            context = contextvars.copy_context()
            others.append(Thread(target=context.run, args=(note, tmp_path, "evaluate/b.json")))
            others[0].start()
            folder = os.open(tmp_path, os.O_RDONLY)
            with pytest.raises(BlockingIOError):
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(folder)
        write(path, content)

    monkeypatch.setattr(made_by, "write_whole", meanwhile)
    with asking("evaluate", (("--bootstrap", "9"),)):
        note(tmp_path, "evaluate/a.json")
    others[0].join()
    assert noted(tmp_path).keys() == {"evaluate/a.json", "evaluate/b.json"}


@pytest.mark.parametrize(
    ("options", "is_taken"),
    [
        ([["--cache", "c"], ["--find-copies"], ["--size", "-1", "2"], ["runs/b"]], True),
        ([[]], False),
        ([["--run", "/home/x"]], False),
        ([["--out=/home/x"]], False),
        ([["--cache", "c", "--out", "/home/x"]], False),
        ([["-o", "x"]], False),
        ([["id", "x"]], False),
        ([[""]], False),
        ([5], False),
        (5, False),
    ],
)
def test_nothing_but_options_is_given_again(options: Any, is_taken: bool, tmp_path: Path) -> None:
    """The file may be somebody else's."""
    values = seal({"schema": made_by.SCHEMA, "made": {"train": options}})
    (tmp_path / FILE).write_text(json.dumps(values))
    found = {"train": tuple(map(tuple, options))} if is_taken else {}
    assert noted(tmp_path) == found
