"""Pictures that matplotlib draws: the bytes are those of its own way to save them."""

import io

import matplotlib as mpl
import numpy as np
from avpipe.train.show.drawing import to_pixels, to_png
from matplotlib.figure import Figure
from PIL import Image


def figure() -> Figure:
    made = Figure((4, 3), dpi=110, layout="constrained")
    made.suptitle("a title")
    axes = made.subplots()
    shown = axes.imshow(np.random.default_rng(0).random((9, 12)))
    made.colorbar(shown, ax=axes).set_label("a unit")
    return made


def test_a_figure_is_saved_as_matplotlib_does_and_drawn_once() -> None:
    expected, drawn, once = io.BytesIO(), figure(), figure()
    drawn.savefig(expected, format="png", facecolor="white")
    calls: list[object] = []
    draw = once.draw
    once.draw = lambda renderer: (calls.append(renderer), draw(renderer))  # type: ignore[method-assign]
    with mpl.rc_context({"figure.facecolor": "red"}):
        assert to_png(once) == expected.getvalue()
    assert len(calls) == 1


def test_pixels_of_a_figure_are_those_of_its_png() -> None:
    png = Image.open(io.BytesIO(to_png(figure()))).convert("RGB")
    assert np.array_equal(to_pixels(figure()), np.asarray(png))
