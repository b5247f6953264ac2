"""EZ-VSL and SLAVC built again as described, with the released code's parameter names."""

import numpy as np
import pytest
import reference
import torch
from avpipe.train.data.augment import Views
from avpipe.train.data.columns import Inputs
from avpipe.train.learner import build_student
from avpipe.train.objectives import Seen, load_objective
from avpipe.train.recipe import load_recipe
from peer_factory import Released, slower
from torch import Tensor


def ours(released: dict[str, Tensor], heads: tuple[str, ...]) -> dict[str, Tensor]:
    """Rename the released code's parameters."""
    names = {"imgnet": "image_encoder", "audnet": "audio_encoder"}
    for number, head in enumerate(heads):
        names |= {f"img_proj{head}": f"image_heads.{number}"}
        names |= {f"aud_proj{head}": f"audio_heads.{number}"}
    renamed = {}
    for key, value in released.items():
        first, _, rest = key.partition(".")
        renamed[f"{names[first]}.{rest}"] = value
    return renamed


def doubles(tensors: list[Tensor]) -> list[np.ndarray]:
    return [tensor.double().numpy() for tensor in tensors]


@pytest.mark.parametrize(("name", "heads"), [("ez-vsl", ("",)), ("slavc", ("1", "2"))])
def test_released_weights_give_the_formulas_loss_and_map(name: str, heads: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    theirs = Released(heads).eval()
    slow = slower(theirs)
    recipe = load_recipe(name, ["batch_norm=frozen", "visual_dropout=0", "precision=fp32"])
    objective = load_objective(name)
    student = build_student(recipe, objective, 0, Inputs()).eval()
    student.online.load_state_dict(ours(theirs.state_dict(), heads))
    if student.momentum is not None:
        student.momentum.load_state_dict(ours(slow.state_dict(), heads))
    views = Views(torch.randn(3, 3, 96, 96), torch.randn(3, 1, 64, 80))
    with torch.inference_mode():
        online = student.online(views.frames, views.spectrograms)
        target = student.embed_momentum(views.frames, views.spectrograms) or online
        terms = objective.terms(Seen(online, target, 1, None, student.heads), recipe)
        maps = objective.similarity_map(online.visual, online.audio)
        visual, audio = map(doubles, theirs.embed(views.frames, views.spectrograms))
        slow_visual, slow_audio = map(doubles, slow.embed(views.frames, views.spectrograms))
    if name == "ez-vsl":
        image, sound = reference.ez_vsl(visual[0], audio[0], 0.03)
        expected = {"image_to_audio": image, "audio_to_image": sound}
    else:
        pairs = {"momentum_image": (slow_visual, audio), "momentum_audio": (visual, slow_audio)}
        expected = {
            term: reference.slavc_term(
                reference.slavc_product((v[0], v[1]), (a[0], a[1]), 0.03, False), False
            )
            for term, (v, a) in pairs.items()
        }
    assert {term: value.item() for term, value in terms.items()} == pytest.approx(
        expected, rel=1e-3, abs=1e-4
    )
    by_hand = sum(np.einsum("ndhw,nd->nhw", v, a) for v, a in zip(visual, audio, strict=True))
    np.testing.assert_allclose(maps, by_hand / len(heads), atol=1e-5)
