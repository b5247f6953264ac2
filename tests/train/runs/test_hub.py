"""Exported runs: the card that the Hub's library reads, and runs by `hf://`, without a network."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from avpipe.errors import AvpipeError, CacheCorruptError, InputError, UsageError
from avpipe.pipeline.main import main
from avpipe.pipeline.settings import read_settings, settings_of
from avpipe.train import load_run
from avpipe.train.data.columns import Inputs
from avpipe.train.learner import build_student
from avpipe.train.objectives import load_objective
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.checkpoint import save_checkpoint
from avpipe.train.runs.export import export_run
from avpipe.train.runs.record import RunRecord, read_record, write_record
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.io import wavfile

pytestmark = pytest.mark.usefixtures("one_thread")
SHA = "0123456789abcdef0123456789abcdef01234567"
FRAME = np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype(np.uint8)
SOUND = np.random.default_rng(1).uniform(-0.5, 0.5, 3 * 22050).astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with random weights, another network beside the tested one, and scores."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    recipe = load_recipe(
        "compact", ["width=16", "embed_dim=16", "image_size=40", "image_resize=48"]
    )
    torch.manual_seed(0)
    student = build_student(recipe, load_objective(recipe.objective), 0, Inputs())
    save_checkpoint(folder, 5, student.state_dict(), {})
    ids = ("clip000", "clip001")
    record = RunRecord(recipe, "compact", 3, "/home/somebody/avcache", "d", 4, ids, {"torch": "x"},
                       inputs={"hints/detr-r50": "random:0"})  # fmt: skip
    write_record(folder, record)
    scores = {"benchmark": "vggss", "protocol": "slavc", "n_scored": 7, "n_official": 5158,
              "leaked": ["clip001"], "scores": {"av": {"loc_acc": 0.25, "auc": None}}}  # fmt: skip
    (folder / "evaluate").mkdir()
    (folder / "evaluate/vggss-slavc.json").write_text(json.dumps(scores))
    (folder / "evaluate/flickr-slavc.json").write_text("{")
    return folder


@pytest.fixture
def hub(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of `hf://someone/first`, as the Hub's library keeps them once fetched."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    kept = tmp_path / "hub/models--someone--first"
    export_run(run, kept / "snapshots" / SHA)
    for name in ("main", "v1"):
        (kept / "refs").mkdir(exist_ok=True)
        (kept / "refs" / name).write_text(SHA)
    shutil.copytree(run, kept / "snapshots" / SHA / "whole/seed0")
    return kept / "snapshots" / SHA


def test_the_hubs_library_reads_the_card(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(run), "--out", str(tmp_path / "out"), "--license", "cc-by-4.0"]
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["notices"] == [
        f"{run}/evaluate/flickr-slavc.json is damaged: the card leaves it out; run `avpipe "
        f"evaluate {run}` again"
    ]
    card = ModelCard.load(Path(document["card"]))
    assert (card.data.license, card.data.to_dict()["library_name"]) == ("cc-by-4.0", "avpipe")
    assert card.data.tags == ["sound-source-localization", "audio-visual", "compact"]
    (result,) = card.data.eval_results
    assert (result.task_type, result.dataset_name) == ("sound-source-localization", "vggss")
    assert (result.metric_type, result.metric_value) == ("loc_acc", 0.25)
    assert result.metric_name == "LocAcc, protocol slavc"
    assert "- vggss: 1 of its test clips were trained on, those without" in card.text
    assert "| vggss | slavc | 7 / 5158 | LocAcc (`loc_acc`) | 0.2500 |" in card.text
    assert "- 2 clips; `run.json` lists" in card.text and "`hints/detr-r50`" in card.text
    assert "somebody" not in "".join(p.read_text("latin-1") for p in (tmp_path / "out").iterdir())


def test_a_card_without_scores_or_licence_says_so(run: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns("evaluate"))
    write_record(bare, RunRecord(**{**vars(read_record(run)), "imported": {"licence": "BSD"},
                                    "ids": ()}))  # fmt: skip
    card = ModelCard.load(export_run(bare, tmp_path / "out")["card"])
    assert card.data.license == "unknown" and card.data.eval_results is None
    for part in ("Not evaluated.", "Nobody has said (`avpipe export", "Released under: BSD.",
                 "It is not known what it was trained on"):  # fmt: skip
        assert part in card.text


@pytest.mark.parametrize(
    "address",
    [
        "hf://someone/first",
        "hf://someone/first@v1",
        "hf://someone/first/whole",
        "hf:/someone/first",
    ],
)
def test_a_run_of_the_hub_gives_the_same_maps(address: str, hub: Path, run: Path) -> None:
    expected = load_run(run, "cpu").localize(FRAME, SOUND, 22050)
    found = load_run(address, "cpu")
    np.testing.assert_array_equal(found.localize(FRAME, SOUND, 22050), expected)
    assert found.record.ids == ("clip000", "clip001")
    assert np.ptp(expected) > 1e-3


def test_localize_takes_a_run_of_the_hub(
    hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(FRAME).save(tmp_path / "photo.png")
    wavfile.write(tmp_path / "noise.wav", 22050, SOUND)
    words = f"localize {tmp_path}/photo.png --sound {tmp_path}/noise.wav --out {tmp_path}/drawn"
    run = ["--run", "hf://someone/first", "--device", "cpu", "--json", "--weights", "random"]
    assert main([*words.split(), *run]) == 0
    assert len(json.loads(capsys.readouterr().out)["pictures"]) == 1


def test_a_settings_file_may_name_the_hub(tmp_path: Path) -> None:
    from avpipe.pipeline.commands.localize import localize

    (tmp_path / "avpipe.toml").write_text('run = "hf://someone/first"\n')
    found = read_settings(tmp_path / "avpipe.toml", {"localize": settings_of(localize)})
    assert found["localize"]["run"] == "hf://someone/first"


@pytest.mark.parametrize(
    ("address", "code", "told"),
    [
        ("hf://someone/other", 6, "hf download someone/other"),
        ("hf://someone/first@v2", 6, "the Hub cannot be reached"),
        ("hf://someone", 2, "should be hf://USER/RUN"),
        ("hf://some one/first", 2, "should be hf://USER/RUN"),
        ("hf://someone/first/gone", 4, "has no folder gone"),
    ],
)
def test_what_is_not_there_is_told_in_a_line(address: str, code: int, told: str, hub: Path) -> None:
    with pytest.raises(AvpipeError, match=told) as caught:
        load_run(address, "cpu")
    assert caught.value.exit_code == code and "\n" not in str(caught.value)


def test_an_exported_run_is_checked(run: Path, tmp_path: Path) -> None:
    files = export_run(run, tmp_path / "out")
    with pytest.raises(UsageError, match="has no 'momentum' weights; it was exported with ema"):
        load_run(tmp_path / "out", "cpu", branch="momentum")
    with pytest.raises(UsageError, match="is the run itself"):
        export_run(run, run)
    tensors = load_file(files["weights"])
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, files["weights"])
    with pytest.raises(CacheCorruptError, match="safetensors is damaged"):
        load_run(tmp_path / "out", "cpu")
    files["description"].write_text("{}")
    with pytest.raises(CacheCorruptError, match="json is damaged"):
        load_run(tmp_path / "out", "cpu")
    files["description"].unlink()
    with pytest.raises(InputError, match="no checkpoint"):
        load_run(tmp_path / "out", "cpu")
