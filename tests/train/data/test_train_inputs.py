"""What a recipe reads beside clips, and how clips find partners."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.errors import InputError, UsageError
from avpipe.train.data.augment import training_views
from avpipe.train.data.batches import Batch, DataMode, Pick
from avpipe.train.data.clips import ClipReader, data_fingerprint, short_side
from avpipe.train.data.columns import Inputs, find_inputs
from avpipe.train.data.partners import Partners
from avpipe.train.data.sources import open_source
from avpipe.train.nets.model import Needs
from avpipe.train.recipe import Recipe, load_recipe
from cache_factory import add_inputs, add_values, make_cache

NEEDS, NEEDS_LABELS = Needs(), Needs(classes_of="sounds")
CPU = torch.device("cpu")
HELD_OUT = ["clip003", "clip017"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """24 clips; hints of all, neighbours and clusters of all but two."""
    cache = make_cache(tmp_path_factory.mktemp("cache"), 24)
    add_inputs(cache, hold_out=HELD_OUT)
    return cache


@pytest.fixture(scope="module")
def rows(cache: Cache) -> np.ndarray:
    return np.setdiff1d(cache.rows, [3, 17])


# What is found


def test_everything_is_found(cache: Cache, rows: np.ndarray) -> None:
    recipe = replace(load_recipe("best"), num_neighbors=5, clusters="vggsound-resnet18-k4")
    inputs = find_inputs(cache, rows, recipe, NEEDS_LABELS)
    assert inputs.columns["visual_hint"].shape == (20, 7, 7)
    assert inputs.columns["visual_hint"].of_frames
    assert inputs.columns["audio_hint"].shape == (24,) and inputs.columns["label"].shape == ()
    assert inputs.num_classes == 4
    stages = {stage.partition("@")[0] for stage in inputs.stages}
    assert stages == {
        "hints/detr-r50", "hints/panns-wavegram", "clusters/vggsound-resnet18-k4",
        "neighbors/image-imagenet-resnet18", "neighbors/audio-vggsound-resnet18",
    }  # fmt: skip


def test_a_plain_recipe_reads_nothing_else(cache: Cache, rows: np.ndarray) -> None:
    inputs = find_inputs(cache, rows, load_recipe("slavc"), NEEDS)
    assert inputs == Inputs()
    assert data_fingerprint(cache, rows, inputs.stages) == data_fingerprint(cache, rows)


def test_other_hints_are_other_data(cache: Cache, rows: np.ndarray, tmp_path: Path) -> None:
    copy = make_cache(tmp_path / "copy", 24)
    stages = ["hints/detr-r50"]
    for weights, same in (("made", True), ("otherwise", False)):
        add_values(copy, "hints/detr-r50", (20, 7, 7), weights)
        found = data_fingerprint(copy, rows, stages)
        assert (found == data_fingerprint(cache, rows, stages)) == same
    assert data_fingerprint(cache, rows, stages) != data_fingerprint(cache, rows)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"hints": "visual", "visual_teacher": "gone"}, "--visual gone --audio none --cache "),
        ({"hints": "audio", "audio_teacher": "gone"}, "of 22 of 22 clips"),
        (
            {"hints": "audio", "audio_teacher": "detr-r50"},
            "20 x 7 x 7 numbers a clip; an audio hint is one vector",
        ),
        (
            {"views": "neighbour", "image_neighbors": "gone"},
            "image-gone; run `avpipe knn --image gone --audio vggsound-resnet18 --cache ",
        ),
        (
            {"partners": "nearest", "audio_neighbors": "gone"},
            "audio-gone; run `avpipe knn --image none --audio gone --cache ",
        ),
    ],
)
def test_what_is_missing_is_named(
    cache: Cache, rows: np.ndarray, settings: dict[str, str], says: str
) -> None:
    with pytest.raises(InputError) as caught:
        find_inputs(cache, rows, replace(Recipe(), **settings), NEEDS)  # type: ignore[arg-type]
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_neighbours_of_other_clips_are_refused(cache: Cache) -> None:
    recipe = Recipe(views="neighbour", num_neighbors=1)
    with pytest.raises(InputError, match=r"of other clips than.*--hold-out; what --val-ids names"):
        find_inputs(cache, cache.rows, recipe, NEEDS)
    recipe = replace(recipe, views="single", clusters="vggsound-resnet18-k4")
    command = "`avpipe cluster --encoder vggsound-resnet18 --k 4 --cache "
    with pytest.raises(InputError, match=command):
        find_inputs(cache, cache.rows, recipe, Needs(classes_of="objects"))


def test_the_neighbours_of_these_clips_are_taken_among_others(
    cache: Cache, rows: np.ndarray, tmp_path: Path
) -> None:
    both = make_cache(tmp_path / "cache", 24)
    add_inputs(both, hold_out=HELD_OUT)
    add_inputs(both)
    recipe = Recipe(views="neighbour", num_neighbors=1)
    ours = find_inputs(both, rows, recipe, NEEDS).neighbors
    everyones = find_inputs(both, both.rows, recipe, NEEDS).neighbors
    assert ours == find_inputs(cache, rows, recipe, NEEDS).neighbors
    assert ours["image"] != everyones["image"]


def test_too_many_neighbours_and_random_teachers_are_told(
    cache: Cache, rows: np.ndarray, tmp_path: Path
) -> None:
    recipe = Recipe(views="neighbour", num_neighbors=1000)
    told = find_inputs(cache, rows, recipe, NEEDS).notices
    assert any("5 of 22 clips are more than 5 %" in line for line in told)
    assert any("has 5 neighbours, the recipe takes 1000" in line for line in told)
    assert not find_inputs(cache, rows, replace(recipe, num_neighbors=1), NEEDS).notices
    other = make_cache(tmp_path / "cache", 8)
    add_values(other, "hints/detr-r50", (8, 7, 7), "random:0")
    told = find_inputs(other, other.rows, Recipe(hints="visual"), NEEDS).notices
    assert told == ("hints/detr-r50 was made with random weights: it knows nothing",)


# Partners


def partners(cache: Cache, rows: np.ndarray, recipe: Recipe) -> Partners:
    return Partners(cache, rows, recipe, find_inputs(cache, rows, recipe, NEEDS), frames=True)


def test_neighbours_are_drawn_uniformly_from_the_nearest(cache: Cache, rows: np.ndarray) -> None:
    recipe = Recipe(views="neighbour", num_neighbors=3)
    drawn = partners(cache, rows, recipe)
    positions = np.array([0, 4, 21])
    picks = [drawn.pick(positions, np.random.default_rng(seed)) for seed in range(600)]
    for modality, part in (("image", "frames"), ("audio", "sounds")):
        name = {"image": "image-imagenet-resnet18", "audio": "audio-vggsound-resnet18"}[modality]
        for i, position in enumerate(positions.tolist()):
            nearest = cache.neighbors(name)[int(rows[position])][0][:3]
            found = rows[[getattr(pick, part)[3 + i] for pick in picks]]
            times = [int((found == row).sum()) for row in nearest]
            assert sum(times) == 600 and min(times) > 150
    assert all(np.array_equal(pick.frames[:3], positions) for pick in picks)
    independent = [np.array_equal(pick.frames[3:], pick.sounds[3:]) for pick in picks]
    assert np.mean(independent) < 0.5


def test_a_clip_without_neighbours_is_its_own(tmp_path: Path) -> None:
    alone = make_cache(tmp_path / "cache", 8)
    add_inputs(alone, ids=["clip001", "clip002", "clip003", "clip004"], k=2)
    rows = np.array([1, 2, 3, 4])
    recipe = Recipe(views="neighbour", num_neighbors=9)
    pick = partners(alone, rows, recipe).pick(np.arange(4), np.random.default_rng(0))
    assert (pick.frames[4:] != np.arange(4)).all() and set(pick.frames.tolist()) <= set(range(4))


def test_a_clip_may_be_its_own_neighbour(cache: Cache, rows: np.ndarray) -> None:
    recipe = Recipe(views="neighbour", num_neighbors=3, image_neighbors="own")
    inputs = find_inputs(cache, rows, recipe, NEEDS)
    assert set(inputs.neighbors) == {"audio"}
    pick = partners(cache, rows, recipe).pick(np.arange(8), np.random.default_rng(0))
    assert pick.frames.tolist() == [*range(8), *range(8)]
    assert (pick.sounds[8:] != np.arange(8)).all()
    twice = replace(recipe, audio_neighbors="own")
    assert find_inputs(cache, rows, twice, NEEDS) == Inputs()
    pick = partners(cache, rows, twice).pick(np.arange(8), np.random.default_rng(0))
    assert pick.sounds.tolist() == [*range(8), *range(8)]
    with pytest.raises(UsageError, match="nearest other sound: name the encoder"):
        load_recipe("cached", ["partners=nearest", "audio_neighbors=own"])


def test_partners_of_one_video(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", 9, sources=3)
    drawn = partners(cache, cache.rows, Recipe(partners="source"))
    seen: dict[int, set[int]] = {position: set() for position in range(9)}
    for seed in range(80):
        pick = drawn.pick(np.arange(9), np.random.default_rng(seed))
        assert np.array_equal(pick.sounds, np.arange(9))
        for position, other in enumerate(pick.frames.tolist()):
            seen[position].add(other)
    assert all(seen[position] == {0 + position % 3, 3 + position % 3, 6 + position % 3}
               for position in range(9))  # fmt: skip


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_nearest_sound_stands_in_always_or_half_of_the_time(
    cache: Cache, rows: np.ndarray, share: float
) -> None:
    recipe = Recipe(partners="nearest", nearest_share=share)
    drawn = partners(cache, rows, recipe if share < 1 else Recipe(partners="nearest"))
    positions = np.arange(22)
    nearest = [cache.neighbors("audio-vggsound-resnet18")[int(row)][0][0] for row in rows]
    heard = np.stack(
        [rows[drawn.pick(positions, np.random.default_rng(s)).sounds] for s in range(300)]
    )
    assert ((heard == rows) | (heard == nearest)).all()
    assert abs((heard == nearest).mean() - share) < 0.05


# Batches


def batch_of(cache: Cache, rows: np.ndarray, mode: DataMode, recipe: Recipe) -> Batch:
    inputs = find_inputs(cache, rows, recipe, NEEDS_LABELS)
    reader = ClipReader(cache, rows, short_side(64), inputs.columns)
    drawn = Partners(cache, rows, recipe, inputs, frames=True)
    source, line = open_source(reader, mode, CPU, workers=2)
    assert "visual hints" in line
    pick = drawn.pick(np.array([5, 0, 20]), np.random.default_rng(0))
    return next(iter(source.batches([pick])))


RECIPE = Recipe(
    hints="both", views="multi", num_neighbors=3, clusters="vggsound-resnet18-k4",
    image_size=48, image_resize=64, hint_align="roi",
)  # fmt: skip


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_batches_hold_hints_labels_and_neighbours(
    cache: Cache, rows: np.ndarray, mode: DataMode
) -> None:
    batch = batch_of(cache, rows, mode, RECIPE)
    assert batch.frames.shape[:2] == (6, 64) and batch.spectrograms.shape == (6, 257, 462)
    assert batch.rows.tolist() == rows[[5, 0, 20]].tolist()
    for i, row in enumerate(batch.rows.tolist()):
        for name, column in (
            ("visual_hint", "hints/detr-r50"),
            ("audio_hint", "hints/panns-wavegram"),
        ):
            assert np.array_equal(batch.columns[name][i].numpy(), cache.column(column)[row])
        stage = find_inputs(cache, rows, RECIPE, NEEDS_LABELS).columns["label"].stage
        assert batch.columns["label"][i] == cache.column(f"{stage}/label")[row]
    assert batch.columns["visual_hint"].dtype == torch.float16


def test_both_modes_give_the_same_bytes(cache: Cache, rows: np.ndarray) -> None:
    one, other = (batch_of(cache, rows, mode, RECIPE) for mode in ("resident", "stream"))
    assert torch.equal(one.frames, other.frames)
    assert torch.equal(one.spectrograms, other.spectrograms)
    assert np.array_equal(one.frame_hw, other.frame_hw)
    assert one.columns.keys() == other.columns.keys()
    assert all(torch.equal(one.columns[name], other.columns[name]) for name in one.columns)


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_frames_that_are_not_needed_are_not_read(
    cache: Cache, rows: np.ndarray, mode: DataMode
) -> None:
    recipe = load_recipe("spm-audio", ["clusters=vggsound-resnet18-k4"])
    inputs = find_inputs(cache, rows, recipe, Needs(frames=False, classes_of="sounds"))
    reader = ClipReader(cache, rows, short_side(64), inputs.columns)
    pick = Partners(cache, rows, recipe, inputs, frames=False).pick(
        np.arange(4), np.random.default_rng(0)
    )
    source, line = open_source(reader, mode, CPU, frames=False)
    assert "frames" not in line
    batch = next(iter(source.batches([pick])))
    views = training_views(batch, recipe, np.random.default_rng(0), CPU)
    assert len(views.frames) == 0 and views.spectrograms.shape == (4, 1, 257, 276)
    assert views.labels is not None and views.labels.dtype == torch.int64


def test_three_views_of_each_modality(cache: Cache, rows: np.ndarray) -> None:
    batch = batch_of(cache, rows, "resident", RECIPE)
    views = training_views(batch, RECIPE, np.random.default_rng(0), CPU)
    assert views.num_views == 3
    assert views.frames.shape == (9, 3, 48, 48) and views.spectrograms.shape == (9, 1, 257, 276)
    assert views.hints["visual_hint"].shape == (3, 20, 7, 7)
    assert views.hints["visual_hint"].dtype == torch.float32
    centre = batch.spectrograms[:, :, 93:369].float() / 12
    heard = views.spectrograms[:, 0].unflatten(0, (3, 3))
    torch.testing.assert_close(heard[0], centre[:3])
    torch.testing.assert_close(heard[2], centre[3:])
    long = batch.valid_cols[:3, 0] == 0
    assert not np.array_equal(heard[1][long], centre[:3][long])
    plain = training_views(batch, replace(RECIPE, views="single"), np.random.default_rng(0), CPU)
    assert torch.equal(plain.frames, views.frames[:3])  # the anchor does not change
    assert torch.equal(plain.hints["visual_hint"], views.hints["visual_hint"])


def test_pick_of_takes_the_clips_themselves() -> None:
    pick = Pick.of(np.array([3, 1]))
    assert pick.clips.tolist() == pick.frames.tolist() == pick.sounds.tolist() == [3, 1]
