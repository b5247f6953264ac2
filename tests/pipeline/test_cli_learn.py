"""The commands that learn: each option reaches its stage, and the whole way on small worlds."""

import inspect
import json
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from avpipe.cache.store import Cache
from avpipe.pipeline import output
from avpipe.pipeline.commands.train import train_text
from avpipe.pipeline.main import main
from avpipe.pipeline.run_folders import one_run_folder
from avpipe.train.negatives.asked import Asked
from avpipe.train.runs.localizer import load_run
from avpipe.train.score.sweeps import Sweeps
from cache_factory import make_cache
from huggingface_hub import ModelCard
from warm import Warm

SMALL = "--set width=16 --set embed_dim=16 --set image_size=40 --set image_resize=48 "
SMALL += "--set batch_size=8 --set epochs=2"
pytestmark = pytest.mark.usefixtures("one_thread")
CLIPS = Path(__file__).parents[3] / "shared" / "clips"


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVPIPE_DEVICE", "cpu")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # for the processes started here


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small synthetic world in `synth`, extracted into `avcache`."""
    folder = tmp_path_factory.mktemp("world")
    assert main(["synth", f"{folder}/synth", "--clips", "16", "--classes", "8", "--jobs", "1"]) == 0
    words = ["extract", f"{folder}/synth/videos", "--cache", f"{folder}/avcache"]
    assert main(words) == 0
    return folder


Ask = Callable[[str], Any]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command with --json; return its document."""

    def run(words: str) -> Any:
        capsys.readouterr()
        code = main([*words.split(), "--json"])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    return run


Noted = Callable[[str, Any], list[dict[str, Any]]]


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Noted:
    """Put a recorder in a function's place; return its calls, each argument by its name."""
    import_module("avpipe.pipeline.networks.source")  # else it would keep a recorder for ever

    def record(target: str, answer: Any) -> list[dict[str, Any]]:
        module, _, name = target.rpartition(".")
        signature = inspect.signature(getattr(import_module(module), name))
        calls: list[dict[str, Any]] = []

        def note(*args: Any, **options: Any) -> Any:
            calls.append(signature.bind(*args, **options).arguments)
            return answer

        monkeypatch.setattr(target, note)
        return calls

    return record


def with_lists() -> None:
    """Make a cache `c`, and lists `i.txt`, `h.txt` and `v.txt` of one of its clips each."""
    make_cache(Path("c"), 8)
    for number, name in enumerate("ihv"):
        Path(f"{name}.txt").write_text(f"clip00{number}\n")


def test_every_option_of_the_teachers_reaches_them(noted: Noted) -> None:
    with_lists()
    noted("avpipe.devices.usable_device", "cuda:1")
    checked = noted("avpipe.pipeline.networks.choose.require_weights", None)
    threads = noted("avpipe.pipeline.networks.threads.network_threads", nullcontext())
    made = SimpleNamespace(done=3, weights={}, as_json=lambda: FOUND)
    hints = noted("avpipe.stages.embed.run.embed", made)
    shared = "--cache c --weights random --weights panns-cnn14=f --device cuda:1 --batch-size 4"
    shared += " --threads 3 --overwrite"
    words = "embed-teachers --visual detr-r50 --visual-hint encoder --audio panns-cnn14 --objects"
    assert main(f"{words} {shared}".split()) == 0
    specs = ("random", "panns-cnn14=f")
    common = {"device": "cuda:1", "batch_size": 4, "overwrite": True}
    names = ["detr-r50-encoder", "panns-cnn14"]
    expected = {"kind": "hints", "names": names, "objects": ["detr-r50"], "specs": specs, **common}
    assert {key: hints[0][key] for key in expected} == expected
    assert hints[0]["cache"].path == Path("c").absolute()
    assert checked[0] == {"cache": Path("c"), "names": [*names, "detr-r50"], "specs": specs}
    assert threads == [{"wanted": "3", "device": "cuda:1"}]

    sources = noted("avpipe.pipeline.networks.source.embed_source", made)
    found = SimpleNamespace(k=9, stage="neighbors/x", done=3, skipped=0, notices=[])
    searches = noted("avpipe.stages.neighbors.run.neighbors", found)
    names = ["imagenet-resnet18", "panns-cnn14"]
    words = f"knn --k 9 --image {names[0]} --audio {names[1]} --ids i.txt --hold-out h.txt {shared}"
    assert main(words.split()) == 0
    assert [one["name"] for one in sources] == names
    assert [one["encoder"] for one in searches] == names
    expected = {"specs": specs, **common}
    assert {key: sources[0][key] for key in expected} == expected
    expected = {"k": 9, "ids": ["clip000"], "hold_out": ["clip001"], "device": "cuda:1"}
    expected |= {"overwrite": True}
    assert {key: searches[0][key] for key in expected} == expected
    assert threads[1:] == [{"wanted": "3", "device": "cuda:1"}]


FOUND = {"schema": "x/1", "done": 3, "weights": {"hints/detr-r50": "random:0"}}


def test_every_option_of_cluster_reaches_it(noted: Noted) -> None:
    with_lists()
    sources = noted("avpipe.pipeline.networks.source.embed_source", SimpleNamespace(**FOUND))
    found = SimpleNamespace(stage="clusters/x", clusters=[], purity=None, purity_shuffled=None)
    vars(found).update(done=3, skipped=0, notices=[])
    clusters = noted("avpipe.stages.neighbors.cluster.cluster", found)
    words = "cluster --cache c --k 4 --encoder panns-cnn14 --seed 5 --ids i.txt --hold-out h.txt "
    words += "--weights random --device cuda --batch-size 6 --overwrite"
    assert main(words.split()) == 0
    expected = {"name": "panns-cnn14", "specs": ("random",), "device": "cuda", "batch_size": 6}
    expected |= {"overwrite": True}
    assert {key: sources[0][key] for key in expected} == expected
    expected = {"encoder": "panns-cnn14", "k": 4, "seed": 5, "ids": ["clip000"]}
    expected |= {"hold_out": ["clip001"], "overwrite": True}
    assert {key: clusters[0][key] for key in expected} == expected


def test_every_option_of_training_reaches_it(noted: Noted) -> None:
    with_lists()
    done = noted("avpipe.train.loop.train", SimpleNamespace(notices=[]))
    noted("avpipe.pipeline.commands.train._run_json", {"loss": None, "val_loss": None})
    words = "train --cache c --recipe slavc --run r --ids i.txt --hold-out h.txt --val-ids v.txt "
    words += "--set lr=1 --seeds 4,5 --set epochs=2 --data stream --weights w --device cuda "
    words += "--threads 3 --json"
    assert main(words.split()) == 0
    assert [(one["seed"], one["run_dir"]) for one in done] == [
        (4, Path("r/seed4")),
        (5, Path("r/seed5")),
    ]
    expected = {"recipe_name": "slavc", "ids": ["clip000"], "hold_out": ["clip001"]}
    expected |= {"val_ids": ["clip002"], "data": "stream", "device": "cuda", "threads": 3}
    expected |= {"weights": ("w",)}
    assert {key: done[1][key] for key in expected} == expected
    recipe = done[1]["recipe"]
    assert (recipe.objective, recipe.lr, recipe.epochs) == ("slavc", 1, 2)
    assert done[1]["cache"].path == Path("c").absolute()


def test_every_option_of_evaluate_reaches_it(noted: Noted) -> None:
    with_lists()
    folders = noted("avpipe.pipeline.run_folders.run_folders", ["r", "s"])
    threads = noted("avpipe.pipeline.networks.threads.network_threads", nullcontext())
    truths = noted("avpipe.pipeline.scoring.require_truth", Path("w"))
    scores = noted("avpipe.train.score.evaluate.evaluate", {"runs": [], "notices": []})
    words = "evaluate r s --cache c --annotations w --benchmark b --protocol p --paper q "
    words += "--geometry corners --device cuda --batch-size 7 --threads 3 --alpha 0.2,0.4 "
    words += "--branch ema --head localization --ids i.txt --predicted 0.1 --at 0.3,0.7 --json "
    words += "--negatives noise,own --negatives-seed 4 --bootstrap 9"
    assert main(words.split()) == 0
    assert folders == [{"named": [Path("r"), Path("s")]}]
    assert threads == [{"wanted": "3", "device": "cuda"}]
    named = {"benchmark": "b", "annotations": Path("w"), "protocol": "p", "paper": "q"}
    sweeps = Sweeps((0.1,), (0.3, 0.7))
    asked = Asked(("noise", "own"), 4)
    assert truths == [{**named, "sweeps": sweeps, "negatives": asked}]
    expected = {**named, "run_dirs": ["r", "s"], "geometry": "corners", "alphas": (0.2, 0.4)}
    expected |= {"branch": "ema", "head": "localization", "ids": ["clip000"], "sweeps": sweeps}
    expected |= {"device": "cuda", "batch_size": 7}
    expected |= {"negatives": asked, "bootstrap": 9, "find_copies": None}
    assert {key: scores[0][key] for key in expected} == expected
    assert scores[0]["cache"].path == Path("c").absolute()


def test_every_option_of_report_reaches_it(noted: Noted) -> None:
    with_lists()
    noted("avpipe.pipeline.run_folders.run_folders", ["r", "s"])
    threads = noted("avpipe.pipeline.networks.threads.network_threads", nullcontext())
    truths = noted("avpipe.pipeline.scoring.require_truth", Path("w"))
    document = {"runs": [], "notices": []}
    scores = noted("avpipe.train.score.evaluate.evaluate", document)
    pages = noted("avpipe.pipeline.pages.report.run.make_report", {"page": "p", "notices": []})
    words = "report r s --cache c --annotations w --benchmark b --protocol p --paper q "
    assert main(f"{words} --geometry corners --device cuda --out o.html".split()) == 0
    assert threads == [{"wanted": "auto", "device": "cuda"}]
    named = {"benchmark": "b", "annotations": Path("w"), "protocol": "p", "paper": "q"}
    assert truths == [named]
    expected = {**named, "run_dirs": ["r", "s"], "geometry": "corners", "device": "cuda"}
    assert {key: scores[0][key] for key in expected} == expected
    page = {"folders": ["r", "s"], "cache": Path("c"), "out": Path("o.html"), "device": "cuda"}
    assert pages == [{**page, "evaluation": document, "annotations": Path("w")}]


def test_every_option_of_localize_reaches_it(noted: Noted) -> None:
    with_lists()
    drawn = SimpleNamespace(pictures=[], videos=[], failures=[], notices=[])
    runs = noted("avpipe.pipeline.run_folders.one_run_folder", Path("r/seed0"))
    noted("avpipe.train.runs.record.read_record", SimpleNamespace(features={}))
    threads = noted("avpipe.pipeline.networks.threads.network_threads", nullcontext())
    named = noted("avpipe.pipeline.localize.given.named_clips", nullcontext(["clip"]))
    films = noted("avpipe.pipeline.localize.files.localize_videos", drawn)
    words = "localize a b --run r --out o --geometry corners --device cuda --threads 3 --weights w"
    assert main(f"{words} --sound s --video --every 0.2".split()) == 0
    shared = {"run": Path("r/seed0"), "out": Path("o"), "geometry": "corners", "device": "cuda"}
    shared |= {"weights": ("w",)}
    assert films == [{"candidates": ["clip"], **shared, "every_s": 0.2, "strip": False}]
    sound = {"sound": Path("s"), "out": Path("o"), "endings": (".mp4",)}
    assert named == [{"inputs": ["a", "b"], **sound}]
    assert runs == [{"named": Path("r"), "option": "--run"}]
    assert threads == [{"wanted": "3", "device": "cuda"}]

    files = noted("avpipe.pipeline.localize.files.localize_files", drawn)
    words += " --annotations n --alpha 0.3 --blend slavc"
    assert main(words.split()) == 0
    shared |= {"annotations": Path("n"), "alpha": 0.3, "scales": "slavc"}
    del files[0]["progress"]
    assert files == [{"candidates": ["clip"], **shared}]
    clips = noted("avpipe.pipeline.localize.files.localize_clips", drawn)
    assert main(f"{words.replace('a b', '')} --ids i.txt --cache c".split()) == 0
    assert clips[0].pop("cache").path == Path("c").absolute()
    del clips[0]["progress"]
    assert clips == [{"ids": ["clip000"], **shared}]


def test_the_choices_are_those_of_the_trainer() -> None:
    from avpipe.train.choices import Head
    from avpipe.train.objectives import slavc

    assert set(get_args(Head)) == set(slavc.HEADS)


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        ("embed-teachers --visual panns-cnn14", 2, "'panns-cnn14' is no visual teacher"),
        ("embed-teachers --visual none --audio none", 2, "both teachers are none"),
        ("embed-teachers --weights detr=f", 2, "--weights detr=f: this run has no detr"),
        ("embed-teachers --weights empty", 6, "--weights random is for tests"),
        ("embed-teachers --device cuda:99 --weights random", 2, "cuda:99"),
        ("knn --ids gone.txt --weights random", 4, "gone.txt"),
        ("knn --weights random --weights detr-r50=f", 2, "this run has no detr-r50"),
        ("knn --cache nowhere --weights random", 4, "nowhere"),
        ("train --seeds 0,x", 2, "--seeds 0,x"),
        ("train --seeds 1,1", 2, "comes twice"),
        ("train --recipe gone", 2, "no recipe 'gone'"),
        ("train --set lr", 2, "--set lr: expected key=value"),
        ("train --set lrs=1", 2, "did you mean"),
        ("train --seeds 2147483648", 2, "a seed is at most 2147483647"),
        ("train --data disk", 2, "--data"),
        ("train --weights randon", 2, "'randon' is neither pretrained nor random"),
        ("train --weights detr-r50=random", 2, "no detr-r50 (imagenet-resnet18)"),
        ("train --cache /no/where", 4, "run `avpipe extract INPUT --cache /no/where`"),
        ("status --cache /no/where", 4, "run `avpipe extract INPUT --cache /no/where`"),
        ("verify --cache /no/where", 4, "run `avpipe extract INPUT --cache /no/where`"),
        ("train --run run/run.json", 2, "run/run.json is a file; --run names a folder"),
        ("evaluate gone", 4, "gone holds no run"),
        ("evaluate run --cache nowhere", 4, "nowhere"),
        ("evaluate run", 2, "--annotations"),
        ("evaluate run --benchmark vggsss", 2, "no benchmark 'vggsss': one of"),
        ("evaluate --annotations a", 2, "RUN"),
        ("evaluate gone --annotations a", 4, "gone holds no run"),
        ("cases --run gone", 4, "gone holds no run"),
        ("cases --run run", 2, "--annotations"),
        ("import-checkpoint gone.pth --from slavc --run r", 4, "gone.pth: No such file"),
        ("localize video.mp4", 2, "--run DIR"),
        ("localize --run r", 2, "--ids"),
        ("localize a.mp4 --ids l --run r", 2, "--ids"),
        ("localize a.mp4 --run gone", 4, "gone holds no run"),
        ("localize a.mp4 --run .", 4, ". holds no run; it holds run: name that"),
        ("localize a.mp4 --run r --alpha 2", 2, "--alpha"),
        ("localize --ids l --sound s.wav --run r", 2, "not with --ids"),
        ("localize a.mp4 --run r --video --every 0", 2, "--every"),
    ],
)
def test_wrong_words_end_in_one_line(
    words: str, code: int, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_cache(Path("avcache"), 8)
    Path("empty").mkdir()
    Path("run").mkdir()
    Path("run/run.json").touch()
    capsys.readouterr()
    assert main(words.split()) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("avpipe: error: ")
    assert part in captured.err
    assert captured.err.count("\n") == 1


def test_the_everyday_commands_need_no_path(
    world: Path, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("avpipe.toml").write_text(
        f'inputs = ["{world}/synth/videos"]\nids = "{world}/synth/train.txt"\n'
        f'annotations = "{world}/synth"\nweights = ["random"]\nrun = "run"\n'
        '[embed-teachers]\nvisual = "imagenet-resnet18"\naudio = "efficientat-mn04"\n'
        '[knn]\naudio = "efficientat-mn04"\n'
        f"[train]\nset = {json.dumps(SMALL.split()[1::2])}\n"
    )
    assert ask("extract")["failed_total"] == 0
    assert ask("embed-teachers --dry-run")["stages"][1]["clips"] == 21
    hints = ask("embed-teachers")
    assert hints["done"] == 2 * 21
    assert hints["weights"] == {"hints/imagenet-resnet18": "random:0",
                                "hints/efficientat-mn04": "random:0"}  # fmt: skip
    assert ask("embed-teachers")["done"] == 0
    found = ask("knn --k 1000")
    assert (found["k"], found["done"], found["embedded"]) == (15, 2 * 16, 0)
    assert "k 1000 is clipped to 15" in found["notices"][0]
    (run,) = ask("train")["runs"]
    assert (run["run"], run["clips"], run["done"]) == ("run", 16, 4)
    (again,) = ask("train")["runs"]
    assert (again["done"], again["skipped"]) == (0, 4)
    scores = ask("evaluate run")
    assert scores["runs"][0]["n_scored"] == scores["runs"][0]["n_official"] > 0
    assert scores["runs"][0]["leaked"] == []
    card = ModelCard.load(
        Path(ask("export run --license mit")["card"]), ignore_metadata_errors=False
    )
    assert card.data.license == "mit" and card.data.to_dict()["library_name"] == "avpipe"
    figures = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert figures["loc_acc_adaptive"] == scores["runs"][0]["scores"]["av"]["loc_acc_adaptive"]
    assert "- synth: 0 of" in card.text and "16 clips; `run.json` lists" in card.text
    assert main(["status"]) == 0
    noise = "RANDOM weights (seed 0), for tests and demos: they know nothing: hints/efficientat"
    assert noise in capsys.readouterr().out


def test_help_texts_of_results() -> None:
    text = output.teachers_text({**FOUND, "notices": ["k is clipped"]})
    assert text.splitlines() == [
        "done now  3",
        "",
        "hints/detr-r50: RANDOM weights (seed 0), for tests and demos: they know nothing",
        "k is clipped",
    ]
    assert output.weights_text("ab" * 32) == "weights abababababab"


def test_seeds_lie_in_one_folder_and_make_one_table(world: Path, ask: Ask) -> None:
    cache = f"--cache {world}/avcache"
    words = f"train {cache} --ids {world}/synth/train.txt --val-ids {world}/synth/test.txt "
    words += f"--seeds 0,10 {SMALL} --data stream"
    document = ask(words)
    assert [run["run"] for run in document["runs"]] == [
        "runs/compact/seed0",
        "runs/compact/seed10",
    ]
    assert document["runs"][0]["loss"] != document["runs"][1]["loss"]
    more = words.replace("0,10", "2") + " --set epochs=1"
    assert [run["run"] for run in ask(more)["runs"]] == ["runs/compact/seed2"]
    shutil.rmtree("runs/compact/seed2")
    assert main(f"{words} --run runs/compact/seed0".split()) == 2
    text = train_text(document).splitlines()
    assert [line.split()[0] for line in text[-2:]] == ["mean", "std"]
    runs = document["runs"]
    assert document["mean"]["loss"] == pytest.approx((runs[0]["loss"] + runs[1]["loss"]) / 2)
    assert document["mean"]["val_loss"] is not None and document["std"]["val_loss"] > 0
    assert "val loss" in text[0]
    scores = ask(f"evaluate runs/compact {cache} --annotations {world}/synth")
    assert [run["seed"] for run in scores["runs"]] == [0, 10]
    assert scores["std"]["scores"]["av"]["right_object"] is not None


def test_one_seed_lies_where_several_would_and_is_found_there(
    world: Path, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = f"--cache {world}/avcache"
    words = f"train {cache} --ids {world}/synth/train.txt {SMALL} --set epochs=1 --run r"
    assert [run["run"] for run in ask(f"{words} --seeds 3")["runs"]] == ["r/seed3"]
    again = ask(f"{words} --seeds 3")["runs"][0]
    assert (again["run"], again["done"]) == ("r/seed3", 0)
    scores = ask(f"evaluate r {cache} --annotations {world}/synth")
    assert [run["run"] for run in scores["runs"]] == ["r/seed3"]
    Path("one.txt").write_text("\n".join(Cache(world / "avcache").ids[:1]))
    for line in (
        f"localize --ids one.txt --run r {cache} --out maps", "export r",
        f"report r {cache} --annotations {world}/synth --out report.html",
    ):  # fmt: skip
        assert main(line.split()) == 0
    assert any(Path("r/seed3/export").iterdir())
    assert load_run("r", "cpu").record.seed == 3
    assert one_run_folder(Path("r")) == Path("r/seed3")  # of `serve`
    assert [run["run"] for run in ask(words.replace("--run r", "--run s"))["runs"]] == ["s"]
    named = ask(words.replace("--run r", "--run s") + " --seeds 0")["runs"][0]
    assert (named["run"], named["done"]) == ("s", 0)  # it stays where it was
    capsys.readouterr()
    assert main((words.replace("--run r", "--run s") + " --seeds 1").split()) == 2
    assert "s is one run; name another folder for seeds with --run" in capsys.readouterr().err


def test_random_imagenet_weights_are_told_with_the_scores(
    world: Path, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = f"--cache {world}/avcache"
    Path("few.txt").write_text("\n".join((world / "synth/test.txt").read_text().split()[:4]))
    words = f"train --recipe ez-vsl --run r {cache} --ids few.txt --weights random "
    words += "--set image_size=64 --set image_resize=72 --set epochs=1 --set batch_size=2"
    (run,) = ask(words)["runs"]
    assert run["weights"] == "random:0"
    capsys.readouterr()
    assert main(f"evaluate r {cache} --annotations {world}/synth".split()) == 0
    out = capsys.readouterr().out
    assert "r began with RANDOM weights" in out
    assert re.search(r"leaked: r was trained on \d test clips", out)


def test_batches_shrink_and_a_list_that_holds_out_nothing_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_cache(Path("avcache"), 6)
    Path("out.csv").write_text("id,label\nclip99,x\n")
    words = f"train --hold-out out.csv {SMALL}"
    assert main(words.split()) == 0
    err = capsys.readouterr().err
    assert "batches of 6 instead of 8: no more clips" in err
    assert "out.csv holds out nothing: none of its 1 ids is in the cache" in err
    Path("out.csv").write_text("id,label\nclip001,x\n")
    assert main(f"train --hold-out out.csv --run other {SMALL}".split()) == 0
    captured = capsys.readouterr()
    assert "holds out nothing" not in captured.err
    assert re.search(r"^other +0 +5 +5 +2 ", captured.out, re.MULTILINE)


def test_another_recipe_in_the_same_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    make_cache(Path("avcache"), 8)
    assert main(f"train {SMALL}".split()) == 0
    capsys.readouterr()
    assert main(f"train {SMALL} --set lr=0.5".split()) == 5
    err = capsys.readouterr().err
    assert "runs/compact holds a run with lr = 0.001, this one has 0.5" in err
    assert "--run" in err


def test_recipes_are_listed(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    assert {"schema", "compact", "ez-vsl", "slavc"} <= set(ask("train --list-recipes"))
    assert main(["train", "--list-recipes"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["ez-vsl", "EZ-VSL:", "multiple-instance", "contrast"] in [line[:4] for line in lines]


def test_localize_draws_videos_and_cached_clips(
    world: Path, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = f"--cache {world}/avcache"
    ask(f"train {cache} --run run {SMALL}")
    first = (world / "synth/test.txt").read_text().split()[0]
    video = f"{world}/synth/videos/{first}.mp4"
    Path("bad.mp4").write_bytes(b"no video" * 100)
    drawn = ask(f"localize {video} bad.mp4 --run run --out here")
    assert drawn["pictures"] == [f"here/{first}.png"]
    assert drawn["failed"]["bad"].startswith("not_media")
    assert Path(drawn["pictures"][0]).read_bytes()[:4] == b"\x89PNG"
    words = f"localize --ids {world}/synth/test.txt {cache} --annotations {world}/synth --run run"
    drawn = ask(words)
    assert len(drawn["pictures"]) == len((world / "synth/test.txt").read_text().split()) + 1
    assert drawn["pictures"][-1] == "localized/sheet.png"
    capsys.readouterr()
    assert main(["localize", "bad.mp4", "--run", "run"]) == 3
    assert "none of 1 clips could be localized" in capsys.readouterr().err


def test_training_that_is_stopped_goes_on_as_if_it_had_not_been(ask: Ask, warm: Warm) -> None:
    make_cache(Path("avcache"), 24)
    words = f"train --run stopped {SMALL} --set epochs=20 --set time_shift=true"
    metrics = Path("stopped/metrics.jsonl")
    process = warm.command(*words.split(), "--json", log=Path("log"))
    for _ in until(540):
        if metrics.exists() and metrics.stat().st_size:
            break
    process.send(signal.SIGTERM)
    assert process.wait() == [143]
    said = Path("log").read_text()
    assert said.endswith("avpipe: error: interrupted; the same command resumes\n")
    (resumed,) = ask(words)["runs"]
    assert resumed["done"] + resumed["skipped"] == resumed["num_steps"] == 60
    assert 0 < resumed["skipped"] < 60
    ask(words.replace("stopped", "whole"))
    losses = [
        [json.loads(line)["loss"] for line in Path(run, "metrics.jsonl").read_text().splitlines()]
        for run in ("stopped", "whole")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    weights = [
        sorted(Path(run, "checkpoints").iterdir())[-1] / "weights.safetensors"
        for run in ("stopped", "whole")
    ]
    from safetensors.numpy import load_file

    ours, theirs = map(load_file, weights)
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        assert abs(value - theirs[name]).max() <= 1e-6, name


def until(limit_s: float) -> Iterator[None]:
    """Yield again and again, and fail after a time."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        yield
        time.sleep(0.02)
    raise TimeoutError(f"nothing came in {limit_s} s")


@pytest.mark.clips
def test_the_everyday_commands_on_real_clips(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    Path("avpipe.toml").write_text(
        f'inputs = ["{CLIPS}"]\nweights = ["random"]\n[train]\nset = ["epochs=1"]\n'
    )
    done = ask("extract")["done"]
    assert done >= 3
    assert ask("embed-teachers")["done"] == 2 * done
    assert ask("knn --k 1000")["k"] == done - 1
    assert main(["train"]) == 0
    captured = capsys.readouterr()
    assert f"batches of {done} instead of 32: no more clips" in captured.err
    assert re.search(rf"^runs/compact +0 +{done} +{done} +1 +1 ", captured.out, re.MULTILINE)


def test_weights_above_all_tables_reach_the_commands_that_have_the_network(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_cache(Path("avcache"), 6)
    settings = Path("avpipe.toml")
    train = f"train {SMALL} --set epochs=1 --run r".split()
    settings.write_text('\nweights = ["detr-r50=random", "random"]\n')
    assert main(train) == 0
    assert (
        main(["knn", "--k", "2", "--image", "imagenet-resnet18", "--audio", "vggsound-resnet18"])
        == 0
    )
    capsys.readouterr()
    assert main(["config", "--json"]) == 0
    (found,) = [one for one in json.loads(capsys.readouterr().out)["settings"]
                if one["key"] == "weights"]  # fmt: skip
    assert found["value"] == ["detr-r50=random", "random"] and "train" in found["commands"]
    told = "this run has no detr-r50"
    assert main([*train, "--weights", "detr-r50=random"]) == 2  # here it was asked for
    assert told in capsys.readouterr().err
    settings.write_text('[train]\nweights = ["detr-r50=random"]\n')
    assert main(train) == 2
    assert told in capsys.readouterr().err
    settings.write_text('\nweights = ["dter-r50=random"]\n')
    assert main(train) == 2
    err = capsys.readouterr().err
    assert err.startswith("avpipe: error: avpipe.toml: line 2: weights: ") and "dter-r50" in err
    assert "detr-r50, efficientat-mn04" in err
