import json
from dataclasses import fields
from pathlib import Path

import pytest
from avpipe.errors import UsageError
from avpipe.train.options import options_of
from avpipe.train.recipe import (
    Recipe,
    first_difference,
    list_recipes,
    load_recipe,
    objective_names,
    recipe_from,
    recipe_values,
)


def test_every_shipped_recipe_loads_and_is_described() -> None:
    recipes = list_recipes()
    papers = {"ez-vsl", "slavc", "slavc-paper", "multi-positive", "distill", "lvs", "silence"}
    ours = {"best", "compact", "cached", "cached-alignment", "cached-slavc"}
    assert papers | {"spm-audio", "spm"} | ours == recipes.keys()
    for name, description in recipes.items():
        assert load_recipe(name).objective in objective_names()
        assert len(description) > 20 and not description.startswith("#")


def test_papers_values() -> None:
    ez_vsl, slavc = load_recipe("ez-vsl"), load_recipe("slavc")
    for recipe in (ez_vsl, slavc):
        assert (recipe.temperature, recipe.lr, recipe.batch_size) == (0.03, 1e-4, 128)
        assert (recipe.image_init, recipe.image_size, recipe.epochs) == ("imagenet", 224, 20)
    assert (slavc.momentum, slavc.visual_dropout, slavc.test_weights) == (0.999, 0.9, "momentum")


def test_values_of_the_other_papers() -> None:
    form = load_recipe("slavc-paper")
    differs = ["slavc_form=paper", "spectrogram=257x300"]  # section 4.1: steps of 10 ms
    assert form == load_recipe("slavc", differs) != load_recipe("slavc")
    assert form == load_recipe("slavc", ["objective.form=paper", differs[1]])
    assert form.option("form") == "paper"
    heard = {name: load_recipe(name).spectrogram for name in list_recipes()}
    assert {name for name, kind in heard.items() if kind != "257x276"} == {"slavc-paper"}
    nine = load_recipe("multi-positive")
    assert (nine.objective, nine.pooling, nine.temperature) == ("alignment", "mean", 0.07)
    assert (nine.num_neighbors, nine.epochs, nine.image_init) == (1000, 50, "scratch")
    assert (nine.last_stride, nine.audio_last_stride, nine.projection) == (1, 1, "none")
    distill = load_recipe("distill")
    assert distill.weights == {"audio_hint": 1000, "visual_hint": 100_000}
    assert (distill.embed_dim, distill.hints, distill.hint_align) == (2048, "both", "none")
    lvs = load_recipe("lvs")
    assert lvs.temperature == 0.07
    assert [lvs.option(f"{what}_threshold") for what in ("sound", "silence")] == [0.65, 0.4]
    sounds, spm = load_recipe("spm-audio"), load_recipe("spm")
    assert sounds.clusters == spm.clusters == "vggsound-resnet18-k11"
    assert (spm.audio_init, spm.audio_frozen) == ("runs/spm-audio", True)
    assert [spm.option(name) for name in ("sound_threshold", "mask_temperature")] == [0.65, 0.03]


@pytest.mark.parametrize(
    ("views", "names"),
    [
        ("single", ("anchor",)),
        ("augmented", ("anchor", "augmented")),
        ("neighbour", ("anchor", "neighbour")),
        ("multi", ("anchor", "augmented", "neighbour")),
    ],
)
def test_the_rows_of_the_alignment_papers_ablation(views: str, names: tuple[str, ...]) -> None:
    recipe = load_recipe("multi-positive", [f"views={views}", "weights.alignment=0"])
    assert recipe.view_names == names and recipe.weights == {"alignment": 0}


def test_the_encoder_of_sounds_alone_takes_no_part_of_images() -> None:
    for setting in ("views=multi", "hints=both", "momentum=.9", "partners=source"):
        with pytest.raises(UsageError, match="only classifies sounds"):
            load_recipe("spm-audio", [setting])


@pytest.mark.parametrize("setting", ["views=neighbour", "views=multi", "momentum=.9"])
def test_classes_of_objects_are_those_of_the_clips_own_sound(setting: str) -> None:
    key = setting.partition("=")[0]
    with pytest.raises(UsageError, match=f"--set {setting}: {key} = .* objective = 'spm' "):
        load_recipe("spm", [setting])
    assert load_recipe("spm", ["views=augmented", "hints=both"]).view_names[1] == "augmented"


@pytest.mark.parametrize("kind", ["16k-257x671", "16k-257x1004"])
def test_a_window_without_margins_cannot_be_shifted(kind: str) -> None:
    with pytest.raises(UsageError, match=f"--set time_shift=true: time_shift .* '{kind}'"):
        load_recipe("ez-vsl", [f"spectrogram={kind}", "time_shift=true"])
    assert load_recipe("ez-vsl", [f"spectrogram={kind}", "views=augmented"]).time_shift is False


def test_settings_replace_the_files() -> None:
    recipe = load_recipe(
        "compact",
        ["pooling=max", "lr=1", "time_shift=true", "epochs=3", "weights.image_to_audio=.5"],
    )
    assert (recipe.pooling, recipe.lr, recipe.time_shift, recipe.epochs) == ("max", 1.0, True, 3)
    assert isinstance(recipe.lr, float)
    assert recipe.weights == {"image_to_audio": 0.5}
    assert recipe.image_encoder == "compact"


def test_a_users_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("objective = 'slavc'\nmomentum = 0.9\n[weights]\nmomentum_image = 2\n")
    recipe = load_recipe(str(path), ["weights.momentum_audio=3"])
    assert recipe.weights == {"momentum_image": 2, "momentum_audio": 3}
    assert recipe.batch_size == Recipe().batch_size


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("poolin=max", "unknown key 'poolin' (did you mean 'pooling'?)"),
        ("zzz=1", "unknown key 'zzz'"),
        ("pooling=median", "pooling = 'median': expected one of max, lse, mean, topk"),
        ("objective=avc", "expected one of alignment, ez-vsl, lvs, silence, slavc"),
        ("lr=fast", "lr = 'fast': expected a number"),
        ("lr=nan", "lr = nan: must be above 0"),
        ("lr=inf", "lr = inf: must be above 0"),
        ("lr=0", "lr = 0: must be above 0"),
        ("epochs=1.5", "epochs = 1.5: expected a whole number"),
        ("epochs=true", "epochs = 'true': expected a whole number"),
        ("time_shift=1", "time_shift = '1': expected true or false"),
        ("momentum=1", "momentum = 1: must be at least 0 and below 1"),
        ("width=8", "width = 8: must be at least 16 (torch"),
        ("embed_dim=100000000", "embed_dim = 100000000: must be between 1 and 65536"),
        ("crop_area=0", "crop_area = 0: must be above 0 and at most 1"),
        ("sound_threshold=2", "must be between -1 and 1"),
        ("audio_last_stride=4", "must be 1 or 2"),
        ("hints=all", "hints = 'all': expected one of none, audio, visual, both"),
        ("projection=none", "projection = 'none' needs image_encoder = 'resnet18'"),
        ("flip=1.5", "flip = 1.5: must be between 0 and 1"),
        ("batch_size=1", "batch_size = 1: must be at least 2"),
        ("spectrogram=257x277", "spectrogram = '257x277': expected one of 257x276"),
        ("audio_pool=201", "must be between 1 and 200, the columns of the shortest spectrogram"),
        ("weights.a=nan", "must be finite and at least 0"),
        ("weights.a=-1", "must be finite and at least 0"),
        ("weights.a=x", "weights = {'a': 'x'}: expected a table of numbers"),
        ("lr.a=1", "unknown key 'lr.a'"),
        ("image_size=200", "image_size is larger than image_resize"),
        (f"lr=1{400 * '0'}", "lr: a whole number has at most 64 bits"),
        (f"weights.a=1{400 * '0'}", "weights: a whole number has at most 64 bits"),
        (f"epochs=1{21 * '0'}", "epochs: a whole number has at most 64 bits"),
        ("width=4097", "width = 4097: must be at least 16 (torch"),
        (f"width=1{18 * '0'}", "at most 4096"),
        ("image_resize=257", "must be between 32 and 256, the short side of stored frames"),
        ("test_weights=momentum", "needs momentum above 0"),
        ("last_layer=3", "last_layer belongs to image_encoder = 'resnet18'"),
        ("image_init=imagenet", "with 'compact' leave it out, or --set image_init=scratch"),
        ("image_encoder=mobilenet", "expected one of resnet18, compact, mobilenet-v2"),
        ("lr", "expected key=value"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(setting: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe("compact", [setting])
    message = str(caught.value)
    assert f"--set {setting}" in message
    assert says in message
    assert "\n" not in message


def test_a_weight_of_what_is_no_table_is_told_where_it_was_set() -> None:
    with pytest.raises(UsageError, match=r"^--set weights=5: weights = '5': expected a table"):
        load_recipe("compact", ["weights=5", "weights.image_to_audio=1"])


def test_a_bad_value_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for content, says in (
        ("lr = 'x'", "mine.toml: line 1: lr = 'x': expected a number"),
        ("# mine\nlrs = 1", "mine.toml: line 2: unknown key 'lrs'"),
        ("epochs = 1\n[lr]\na = 1", "mine.toml: line 2: lr = {'a': 1}: expected a number"),
        ("weights = 3", "expected a table of numbers"),
        ("lr = ", "mine.toml: not TOML: line 1, column 6: Invalid value"),
        ("lr = 1\nlr = 2", "mine.toml: not TOML: line 2, column 7: Cannot overwrite a value"),
        (f"lr = 1{400 * '0'}", "lr: a whole number has at most 64 bits"),
        (f"lr = 1{5000 * '0'}", "not TOML"),
        (f"[weights]\na = 1{400 * '0'}", "weights: a whole number has at most 64 bits"),
    ):
        path.write_text(content)
        with pytest.raises(UsageError, match=r"mine\.toml") as caught:
            load_recipe(str(path))
        assert says in str(caught.value)


def test_an_unknown_recipe_lists_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").touch()
    names = "slavk", "none.toml", "", "mine.toml/x", 300 * "x"
    for name in (names[0], *(str(tmp_path / name) for name in names[1:])):
        with pytest.raises(UsageError, match="compact, distill, ez-vsl"):
            load_recipe(name)


@pytest.mark.parametrize(
    "content",
    [
        'objective = "lvs"\nlvs_form = "paper"\nsound_threshold = 0.5',  # before the table was
        'objective.name = "lvs"\nobjective.form = "paper"\nobjective.sound_threshold = 0.5',
        '[objective]\nname = "lvs"\nform = "paper"\nsound_threshold = 0.5',
    ],
)
def test_options_of_an_objective_in_a_file(content: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    recipe = load_recipe(str(path))
    assert recipe.objective == "lvs"
    assert recipe.objective_options == {
        "form": "paper", "sound_threshold": 0.5, "silence_threshold": 0.4, "mask_temperature": 0.03,
    }  # fmt: skip
    assert load_recipe(str(path), ["objective.sound_threshold=1"]).option("sound_threshold") == 1.0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('[objective]\nname = "lvs"\nfrom = "x"', "line 3: objective 'lvs' has no option 'from'"),
        ('objective.form = "code"', "line 1: objective 'ez-vsl' has no option 'form': it has none"),
        ('[objective]\nname = "lvs"\nform = "x"', "line 3: objective.form = 'x': expected one of"),
        ('objective = "slavc"\nlvs_form = "x"', "line 2: lvs_form = 'x': expected one of code"),
        (
            'objective = "lvs"\nmask_temperature = 0',
            "line 2: mask_temperature = 0: must be above 0",
        ),
        ('objective = "lvs"\nmask_temperature = nan', "must be above 0"),
        ('[objective]\nname = "spm"\nsound_threshold = true', "line 3: .*: expected a number"),
    ],
)
def test_a_wrong_option_is_one_line_with_its_place(content: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=says):
        load_recipe(str(path))


def test_a_run_of_an_older_version_still_says_what_it_learnt_by() -> None:
    recipe = load_recipe("slavc-paper")
    stored = recipe_values(recipe)
    del stored["objective_options"]  # as run.json was written before objectives had options
    stored |= {"slavc_form": "paper", "lvs_form": "code", "sound_threshold": 0.65}
    assert recipe_from(stored) == recipe


def test_another_option_is_another_recipe() -> None:
    stored = recipe_values(load_recipe("slavc"))
    assert first_difference(stored, load_recipe("slavc", ["objective.form=paper"])) == (
        "objective.form",
        "code",
        "paper",
    )


@pytest.mark.parametrize("name", objective_names())
def test_every_option_of_an_objective_says_what_it_is(name: str) -> None:
    for option, declared in options_of(name).items():
        assert len(declared.meaning) > 15 and declared.misfit(declared.default) is None
        assert f"`{option}`" in PAGE or f"`{declared.was}`" in PAGE


@pytest.mark.parametrize("name", ["compact", "slavc", "lvs"])
def test_a_recipe_survives_json(name: str) -> None:
    recipe = load_recipe(name, ["weights.x=1"])
    stored = json.loads(json.dumps(recipe_values(recipe)))
    assert recipe_from(stored) == recipe
    assert first_difference(stored, recipe) is None
    stored["lr"] = 5.0
    assert first_difference(stored, recipe) == ("lr", 5.0, recipe.lr)


def test_every_key_is_explained_where_it_is_defined() -> None:
    lines = (Path(__file__).parents[2] / "train" / "recipe.py").read_text().splitlines()
    obvious = {"embed_dim", "epochs", "batch_size", "optimizer", "lr", "weight_decay"}
    obvious |= {"warmup_steps", "schedule", "image_encoder", "image_init", "audio_dropout"}
    for field in fields(Recipe):
        line = next(line for line in lines if line.startswith(f"    {field.name}: "))
        assert field.name in obvious or "  # " in line, line


PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_the_page_explains_every_key_and_recipe() -> None:
    assert [field.name for field in fields(Recipe) if f"`{field.name}`" not in PAGE] == [
        "objective_options",
        "weights",
    ]
    assert "`weights.TERM`" in PAGE
    assert [name for name in list_recipes() if f"| `{name}` |" not in PAGE] == []


def test_the_pages_ablations_are_recipes() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("avpipe train --recipe")]
    assert len(lines) >= 15
    for line in lines:
        words = line.partition("   ")[0].split()
        settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        load_recipe(words[3], settings)
