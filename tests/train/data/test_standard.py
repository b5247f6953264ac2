"""`hint_scale = "standard"`: hints with mean 0 and deviation 1 over the clips trained on."""

from pathlib import Path

import numpy as np
from avpipe.train.data.batches import Pick, Stream
from avpipe.train.data.clips import ClipReader, short_side
from avpipe.train.data.columns import find_inputs
from avpipe.train.data.standard import moments, standard_hints, standardise
from avpipe.train.nets.model import Needs
from avpipe.train.recipe import load_recipe
from cache_factory import add_values, make_cache


def test_moments_are_those_of_all_cells_of_all_clips() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(3, 2, (5, 4, 2, 3)).astype(np.float16)
    maps[:, 3] = 7
    mean, deviation = moments(iter(maps))
    cells = maps.astype(np.float64).transpose(1, 0, 2, 3).reshape(4, -1)
    np.testing.assert_allclose(mean, cells.mean(1))
    np.testing.assert_allclose(deviation, cells.std(1), atol=1e-9)
    made = standardise(maps[0], mean, deviation)
    np.testing.assert_allclose(made[1, 1, 2], (maps[0, 1, 1, 2] - mean[1]) / deviation[1], 1e-5)
    assert (made[3] == 0).all()  # the same in all clips


def test_batches_hold_standardised_hints_of_the_clips_trained_on(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", 12)
    add_values(cache, "hints/heard", (6,))
    add_values(cache, "hints/seen", (5, 2, 2))
    teachers = ["audio_teacher=heard", "visual_teacher=seen", "hint_scale=standard"]
    recipe = load_recipe("distill", teachers)
    rows = cache.rows[:8]
    inputs = find_inputs(cache, rows, recipe, Needs())
    columns = standard_hints(cache, rows, inputs.columns, recipe.hint_names)
    reader = ClipReader(cache, rows, short_side(64), columns)
    (batch,) = Stream(reader, 1).batches([Pick.of(np.arange(8))])
    for name, axes in (("audio_hint", 0), ("visual_hint", (0, 2, 3))):
        values = batch.columns[name].double().numpy()
        np.testing.assert_allclose(values.mean(axes), 0, atol=2e-3)
        np.testing.assert_allclose(values.std(axes), 1, atol=2e-3)
