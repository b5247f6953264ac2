import math

import numpy as np
import pytest
import reference
import torch
from avpipe.train import losses
from torch import Tensor

TAU = 0.03
VISUAL, AUDIO = (3, 4, 2, 2), (3, 4)


def published(shift: float) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """The inputs of the known values: two heads of maps and two of sounds."""
    sine = reference.normalised_sine
    visual = sine(np.sin, 0.7, VISUAL, shift), sine(np.cos, 0.3, VISUAL, shift)
    audio = sine(np.sin, 1.1, AUDIO, shift), sine(np.cos, 0.9, AUDIO, shift)
    return visual, audio


def random_heads(seed: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        values = rng.standard_normal(shape)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    return (draw(5, 8, 2, 3), draw(5, 8, 2, 3)), (draw(5, 8), draw(5, 8))


def tensors(heads: tuple[np.ndarray, ...]) -> tuple[Tensor, Tensor]:
    first, second = (torch.from_numpy(head) for head in heads)
    return first, second


def test_ez_vsl_known_values() -> None:
    visual, audio = published(0.0)
    terms = losses.ez_vsl(tensors(visual)[0], tensors(audio)[0], temperature=TAU)
    assert terms["image_to_audio"].item() == pytest.approx(2.2447516273, abs=1e-9)
    assert terms["audio_to_image"].item() == pytest.approx(2.0251729637, abs=1e-9)


def test_slavc_known_values_as_coded() -> None:
    (visual, audio), (slow_visual, slow_audio) = published(0.0), published(0.1)
    terms = losses.slavc(
        tensors(visual), tensors(audio), tensors(slow_visual), tensors(slow_audio), temperature=TAU
    )
    assert terms["momentum_audio"].item() == pytest.approx(3.6864471731, abs=1e-9)
    assert terms["momentum_image"].item() == pytest.approx(3.7637498480, abs=1e-9)


def test_slavc_known_value_of_the_papers_form() -> None:
    (visual, audio), (slow_visual, slow_audio) = published(0.0), published(0.1)
    terms = losses.slavc(
        tensors(visual), tensors(audio), tensors(slow_visual), tensors(slow_audio),
        form="paper", temperature=TAU,
    )  # fmt: skip
    assert sum(terms.values()).item() == pytest.approx(6.0657469554, abs=1e-9)


@pytest.mark.parametrize("pooling", ["max", "lse", "mean"])
@pytest.mark.parametrize("seed", range(3))
def test_ez_vsl_equals_loops(pooling: losses.Pooling, seed: int) -> None:
    visual, audio = random_heads(seed)
    expected = reference.ez_vsl(visual[0], audio[0], 0.1, pooling, 0.2)
    terms = losses.ez_vsl(
        tensors(visual)[0], tensors(audio)[0],
        temperature=0.1, pooling=pooling, pooling_temperature=0.2,
    )  # fmt: skip
    found = terms["image_to_audio"].item(), terms["audio_to_image"].item()
    assert found == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("form", ["code", "paper"])
@pytest.mark.parametrize("seed", range(3))
def test_slavc_equals_loops(form: str, seed: int) -> None:
    (visual, audio), (slow_visual, slow_audio) = random_heads(seed), random_heads(seed + 100)
    best = form == "paper"
    terms = losses.slavc(
        tensors(visual), tensors(audio), tensors(slow_visual), tensors(slow_audio),
        form=form, temperature=0.1,  # type: ignore[arg-type]
    )  # fmt: skip
    image = reference.slavc_product(slow_visual, audio, 0.1, best)
    sound = reference.slavc_product(visual, slow_audio, 0.1, best)
    expected = reference.slavc_term(image, over_images=best)
    assert terms["momentum_image"].item() == pytest.approx(expected, abs=1e-10)
    expected = reference.slavc_term(sound, over_images=False)
    assert terms["momentum_audio"].item() == pytest.approx(expected, abs=1e-10)


def opposed_pair() -> tuple[Tensor, Tensor]:
    """Two images of one cell and two sounds, each image at odds with its own sound."""
    return torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1), torch.tensor([[1.0], [-1.0]])


def test_slavc_is_finite_where_the_product_underflows() -> None:
    visual, audio = opposed_pair()
    visual.requires_grad_()
    tau = 0.01
    naive = (losses.similarity(visual, audio) / tau).softmax(1).log()
    assert naive[0, 0].item() == -math.inf
    terms = losses.slavc(
        (visual, visual), (audio, audio), (visual, visual), (audio, audio), temperature=tau
    )
    loss = sum(terms.values())
    loss.backward()
    assert loss.item() == pytest.approx(400.0)
    assert torch.isfinite(visual.grad).all()


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_lse_lies_between_mean_and_max(temperature: float) -> None:
    cosines = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (4, 4, 9)))
    soft = losses.pool(cosines, "lse", temperature)
    assert (soft < losses.pool(cosines, "max")).all()
    assert (soft > losses.pool(cosines, "mean")).all()


def test_lse_gives_every_cell_a_gradient() -> None:
    cosines = torch.linspace(-1, 1, 9).reshape(1, 1, 9).requires_grad_()
    losses.pool(cosines, "lse").sum().backward()
    assert (cosines.grad > 0).all()


def test_alignment_known_value() -> None:
    visual, audio = published(0.0)
    v, a = tensors(visual)[0], tensors(audio)[0]
    terms = losses.alignment(v, a, a, a, temperature=0.07)
    assert terms["localization"].item() == pytest.approx(1.6048825606, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_alignment_equals_loops(seed: int) -> None:
    visual, audio = random_heads(seed)
    (_, others), (v, a) = random_heads(seed + 50), (visual[0], audio[0])
    expected = reference.alignment(v, a, (others[0], others[1]), 0.1)
    given = (torch.from_numpy(one) for one in (v, a, *others))
    terms = losses.alignment(*given, temperature=0.1)
    found = terms["localization"].item(), terms["alignment"].item()
    assert found == pytest.approx(expected, abs=1e-10)


def test_alignment_takes_other_poolings() -> None:
    visual, audio = random_heads(0)
    v, a = tensors(visual)[0], tensors(audio)[0]
    terms = losses.alignment(v, a, a, a, temperature=0.1, pooling="max")
    as_ez_vsl = losses.ez_vsl(v, a, temperature=0.1)
    assert terms["localization"].item() == pytest.approx(as_ez_vsl["image_to_audio"].item())


def test_lvs_known_value() -> None:
    visual, audio = published(0.0)
    loss = losses.lvs(tensors(visual)[0], tensors(audio)[0])["tri_map"]
    assert loss.item() == pytest.approx(1.3481178795, abs=1e-9)


@pytest.mark.parametrize("form", ["code", "paper"])
@pytest.mark.parametrize("seed", range(3))
def test_lvs_equals_loops(form: str, seed: int) -> None:
    visual, audio = random_heads(seed)
    expected = reference.lvs(visual[0], audio[0], form == "code")
    loss = losses.lvs(tensors(visual)[0], tensors(audio)[0], form=form)["tri_map"]  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(expected, abs=1e-10)


def test_lvs_is_finite_where_its_weights_underflow() -> None:
    visual, audio = opposed_pair()
    visual.requires_grad_()
    loss = losses.lvs(visual, audio, mask_temperature=0.001)["tri_map"]
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(visual.grad).all()


@pytest.mark.parametrize("norm", ["sample", "cell"])
def test_hint_mse_equals_loops(norm: losses.HintNorm) -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.standard_normal((2, 3, 5, 2, 3))
    expected = reference.hint_mse(student, teacher, norm == "cell")
    found = losses.hint_mse(torch.from_numpy(student), torch.from_numpy(teacher), norm)
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_the_papers_hint_weights_bring_both_terms_to_the_range_of_one() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(2, 4, 2048, 7, 7)
    assert 1e5 * losses.hint_mse(one, other, "sample") == pytest.approx(2, rel=0.05)
    assert 1e5 * losses.hint_mse(one, other, "cell") == pytest.approx(98, rel=0.05)
    one, other = torch.randn(2, 4, 2048)
    assert 1000 * losses.hint_mse(one, other) == pytest.approx(1, rel=0.1)


def test_promotion_equals_loops() -> None:
    visual, audio = random_heads(0)
    features = np.random.default_rng(1).standard_normal((5, 6, 2, 3))
    expected, objects = reference.promotion(visual[0], audio[0], features, 0.2, 0.1)
    v, a = tensors(visual)[0], tensors(audio)[0]
    found = losses.match(v, a, threshold=0.2, temperature=0.1)["match"]
    assert found.item() == pytest.approx(expected, abs=1e-10)
    mask = losses.sounding_mask(v, a, threshold=0.2, temperature=0.1)
    np.testing.assert_allclose(losses.masked_mean(torch.from_numpy(features), mask), objects)


def test_match_is_finite_far_from_its_threshold() -> None:
    visual, audio = opposed_pair()
    loss = losses.match(visual, audio, temperature=1e-4)["match"]
    assert torch.isfinite(loss) and loss > 1000


def test_topk_is_the_mean_of_the_best_cells() -> None:
    cosines = np.random.default_rng(0).uniform(-1, 1, (2, 2, 10))
    found = losses.pool(torch.from_numpy(cosines), "topk", share=0.3)
    expected = [[reference.top_mean(cosines[n, m].tolist(), 3) for m in (0, 1)] for n in (0, 1)]
    np.testing.assert_allclose(found, expected)
    one = losses.pool(torch.from_numpy(cosines), "topk", share=0.01)
    np.testing.assert_array_equal(one, cosines.max(-1))


def test_all_pairs_of_views_are_summed() -> None:
    visual, audio = ([random_heads(seed)[part][0] for seed in range(3)] for part in (0, 1))
    terms = losses.over_pairs(
        lambda v, a: losses.ez_vsl(v, a, temperature=0.1),
        [torch.from_numpy(one) for one in visual],
        [torch.from_numpy(one) for one in audio],
    )
    expected = np.sum([reference.ez_vsl(v, a, 0.1) for v in visual for a in audio], axis=0)
    found = terms["image_to_audio"].item(), terms["audio_to_image"].item()
    assert found == pytest.approx(expected.tolist(), abs=1e-9)
