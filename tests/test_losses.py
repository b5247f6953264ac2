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
