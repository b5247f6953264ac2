"""Options that would be passed over in silence, and addresses in place of folders, are refused."""

import inspect
from pathlib import Path
from typing import get_args

import pytest
from avpipe.pipeline.cli import FUNCTIONS
from avpipe.pipeline.main import main
from avpipe.pipeline.settings import With, Without


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def said(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return the exit code and the one line on standard error."""
    capsys.readouterr()
    code = main(words.split())
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return code, captured.err.removeprefix("avpipe: error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("words", "option", "other"),
    [
        ("knn --probes 9", "--probes", "--approximate"),
        ("knn --min-recall 0", "--min-recall", "--approximate"),
        ("evaluate run --negatives-seed 3", "--negatives-seed", "--negatives"),
        ("evaluate run --training-cache c", "--training-cache", "--copies"),
        ("report run --benchmark vggss", "--benchmark", "--annotations"),
        ("report run --protocol slavc", "--protocol", "--annotations"),
        ("report run --paper slavc", "--paper", "--annotations"),
        ("report run --geometry corners", "--geometry", "--annotations"),
        ("localize v --run r --every 1", "--every", "--video"),
        ("localize v --run r --cache c", "--cache", "--ids"),
        ("plan --clips 9 --gpu-factor 9", "--gpu-factor", "--gpus"),
        ("embed-teachers --visual none --visual-hint encoder", "--visual-hint", "--visual"),
        ("extract --segment 2", "--segment", "INPUT"),
        ("extract --id-from path", "--id-from", "INPUT"),
        ("extract --shard-clips 4", "--shard-clips", "INPUT"),
        ("extract --root videos", "--root", "INPUT"),
    ],
)
def test_an_option_that_works_only_with_another_is_refused_without_it(
    words: str, option: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"{option} does nothing without {other}: add that, or leave it out"
    assert said(words, capsys) == (2, line)


@pytest.mark.parametrize(
    ("words", "option", "other"),
    [
        ("evaluate run --format csv --json", "--format", "--json"),
        ("localize v --run r --alpha 0.3 --video", "--alpha", "--video"),
        ("localize v --run r --blend slavc --video", "--blend", "--video"),
        ("localize v --run r --annotations a --video", "--annotations", "--video"),
        ("localize v --run r --annotations a --sound s", "--annotations", "--sound"),
        ("inspect --id a --n 3", "--n", "--id"),
        ("inspect --failures --n 3", "--n", "--failures"),
        ("inspect --failures --labels l.csv", "--labels", "--failures"),
        ("extract v --jobs 3 --backend sequential", "--jobs", "--backend sequential"),
        ("extract v --jobs 3 --backend dask --scheduler a:1", "--jobs", "--backend dask"),
        ("embed-teachers --jobs 2 --backend ray --scheduler a:1", "--jobs", "--backend ray"),
        ("knn --jobs 2 --backend dask --scheduler a:1", "--jobs", "--backend dask"),
    ],
)
def test_an_option_that_works_only_without_another_is_refused_beside_it(
    words: str, option: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"{option} does nothing with {other}: leave one of them out"
    assert said(words, capsys) == (2, line)


def test_a_settings_file_may_speak_of_what_a_run_does_not_use(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("avpipe.toml").write_text("[knn]\nprobes = 9\n[extract]\nsegment = 2.0\nroot = ['v']\n")
    assert "does nothing" not in said("knn", capsys)[1]
    assert said("knn --probes 9", capsys)[0] == 2
    assert "nothing to extract: name an INPUT" in said("extract", capsys)[1]


def test_roots_of_a_cache_need_no_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing to extract: name an INPUT" in said("extract --root 0=videos", capsys)[1]


def test_what_goes_with_what_are_parameters() -> None:
    found = 0
    for name, function in FUNCTIONS.items():
        parameters = inspect.signature(function, eval_str=True).parameters
        for parameter in parameters.values():
            for mark in get_args(parameter.annotation)[1:]:
                if isinstance(mark, With | Without):
                    assert mark.other in parameters, (name, parameter.name)
                    found += 1
    assert found > 20


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("status --cache s3://bucket/cache", "--cache"),
        ("extract videos --cache hf://datasets/me/cache", "--cache"),
        ("train --run hf://me/run", "--run"),
        ("train --ids https://host/train.txt", "--ids"),
        ("evaluate s3://bucket/run", "RUN"),
        ("export hf://me/run", "RUN"),
        ("verify gs://bucket/run", "RUN"),
        ("synth s3://bucket/world", "OUT"),
        ("localize v --run r --sound https://host/a.wav", "--sound"),
        ("report run --out s3://bucket/x.html", "--out"),
    ],
)
def test_an_address_is_no_folder_of_this_machine(
    words: str, option: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As a path it would lose a slash, and a folder `s3:` would be made."""
    scheme = next(word for word in words.split() if "://" in word).partition("://")[0]
    line = f"{option} takes what is on this machine, and no address such as {scheme}://..."
    assert said(words, capsys) == (2, line)
    assert list(tmp_path.iterdir()) == []


def test_runs_that_localize_may_lie_on_the_hub_and_nowhere_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = "--run takes a folder of this machine or hf://USER/RUN, and no address such as s3://..."
    assert said("localize v --run s3://bucket/run", capsys) == (2, line)
    assert said("localize v --run hf://me", capsys)[1].startswith("hf://me: should be hf://USER/")


@pytest.mark.parametrize("command", ["extract", "localize --run r", "extract x.txt --root"])
@pytest.mark.parametrize("name", ["ftp://host/v", "ftp:/host/v", "s3:/bucket/v", "https:///host"])
def test_an_address_is_told_as_it_was_typed(
    command: str, name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "x.txt").write_text("a.mp4\n")
    (tmp_path / "r").mkdir()
    (tmp_path / "r/run.json").write_text("{}")
    code, line = said(f"{command} {name}", capsys)
    assert code == 4 and line.startswith(f"{name}: ")
    Path("avpipe.toml").write_text(f"[extract]\ninputs = ['{name}']\n")
    assert said("extract", capsys)[1].startswith(f"{name}: ")
