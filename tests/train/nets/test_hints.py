import numpy as np
import pytest
import torch
from avpipe.train.data.columns import BatchColumn, Inputs
from avpipe.train.learner import build_student
from avpipe.train.losses import hint_mse
from avpipe.train.nets.hints import hint_heads, hint_terms
from avpipe.train.nets.model import Features, Needs, build_model
from avpipe.train.objectives import load_objective
from avpipe.train.recipe import Recipe, load_recipe
from torch import nn

TEACHERS = {"audio_hint": (2048,), "visual_hint": (2048, 7, 7)}


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_papers_students_have_the_papers_sizes() -> None:
    distill = build_model(load_recipe("distill"), Needs(), 0)
    assert count(distill) == 24_448_000
    assert count(build_model(load_recipe("ez-vsl"), Needs(), 0)) == 22_872_064
    slavc = build_model(load_recipe("slavc"), Needs(heads=2), 0)
    assert 2 * count(slavc) == pytest.approx(46.8e6, rel=1e-3)
    tensors = len(build_model(load_recipe("ez-vsl"), Needs(), 0).state_dict())
    assert (tensors, 2 * len(slavc.state_dict())) == (244, 496)


def test_a_student_of_the_teachers_size_needs_no_head() -> None:
    assert hint_heads(2048, TEACHERS) == {}
    inputs = Inputs(
        {name: BatchColumn("s", "value", False, shape) for name, shape in TEACHERS.items()}
    )
    student = build_student(load_recipe("distill"), load_objective("ez-vsl"), 0, inputs)
    assert not list(student.heads.parameters())


def test_another_width_gets_a_head_that_only_training_has() -> None:
    recipe = load_recipe("distill", ["embed_dim=32", "width=16", "image_init=scratch", "ema=0.9"])
    inputs = Inputs(
        {name: BatchColumn("s", "value", False, shape) for name, shape in TEACHERS.items()}
    )
    student = build_student(recipe, load_objective("ez-vsl"), 0, inputs)
    shapes = {name: tuple(head.weight.shape) for name, head in student.heads.items()}
    assert shapes == {"audio_hint": (2048, 32), "visual_hint": (2048, 32, 1, 1)}
    assert not [name for name in student.online.state_dict() if "hint" in name]
    assert len(student.trained()) == len(list(student.online.parameters())) + 4


@pytest.mark.parametrize("norm", ["sample", "cell"])
def test_a_map_of_another_size_is_averaged_over_areas(norm: str) -> None:
    torch.manual_seed(0)
    projected = Features(torch.randn(6, 8, 14, 14), torch.randn(6, 8))
    hints = {"audio_hint": torch.randn(2, 12), "visual_hint": torch.randn(2, 12, 7, 7)}
    heads = nn.ModuleDict(hint_heads(8, {"audio_hint": (12,), "visual_hint": (12, 7, 7)}))
    recipe = Recipe(hints="both", hint_norm=norm)  # type: ignore[arg-type]
    terms = hint_terms(projected, hints, heads, recipe)
    cells = projected.visual[:2].reshape(2, 8, 7, 2, 7, 2).mean((3, 5))  # the anchor's alone
    weight, bias = heads["visual_hint"].weight[:, :, 0, 0], heads["visual_hint"].bias
    expected = torch.einsum("bdyx,cd->bcyx", cells, weight) + bias[:, None, None]
    by_hand = hint_mse(expected, hints["visual_hint"], recipe.hint_norm)
    assert terms["visual_hint"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    expected = projected.audio[:2] @ heads["audio_hint"].weight.T + heads["audio_hint"].bias
    by_hand = hint_mse(expected, hints["audio_hint"], recipe.hint_norm)
    assert terms["audio_hint"].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_features_equal_to_the_hints_cost_nothing() -> None:
    projected = Features(torch.rand(3, 5, 7, 7), torch.rand(3, 5))
    hints = {"audio_hint": 2 * projected.audio, "visual_hint": 3 * projected.visual}
    terms = hint_terms(projected, hints, nn.ModuleDict(), Recipe(hints="both"))
    assert np.allclose([term.item() for term in terms.values()], 0, atol=1e-12)
