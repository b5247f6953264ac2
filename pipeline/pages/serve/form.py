"""The page of `avpipe serve`, made of gradio's parts.

Uploads go to the handlers as paths (`preprocess=False`): gradio would open them in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ....errors import AvpipeError
from ...fixes import shown
from ..html import text
from .answers import MAX_PIXELS, MAX_UPLOAD_MB, TIMEOUT_S, Answer, Demo
from .examples import Examples
from .panels import EMPTY, neighbors, panels, problem

CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important }
.av-head h1 { font-size: 1.5rem; margin: 0 0 .3rem }
.av-head p { margin: .2rem 0; max-width: 60rem }
.av-soft, .av-unit, .av-panels figcaption, .av-strip figcaption { font-size: .85rem;
  line-height: 1.4; color: var(--body-text-color-subdued) }
.av-panels { display: grid; gap: 1.2rem 1.6rem; margin: .3rem 0 1rem;
  grid-template-columns: repeat(auto-fill, minmax(max(min(100%, 180px), 40%), 1fr)) }
.av-panels figure, .av-strip figure { margin: 0; min-width: 0; overflow-wrap: anywhere }
.av-panels h3, .av-near h3 { font-size: 1rem; margin: 0 0 .3rem }
.av-panels img, .av-strip img { width: 100%; height: auto; border-radius: 4px; display: block;
  margin: 0 0 .4rem }
.av-scale { display: flex; align-items: center; gap: .4rem; font-size: .8rem;
  font-variant-numeric: tabular-nums }
.av-scale i { flex: 1; height: .6rem; border-radius: 2px }
.av-unit { text-align: center; margin-bottom: .2rem }
.av-empty { border: 1px dashed var(--border-color-primary); border-radius: 6px; padding: 4rem 1rem;
  text-align: center; color: var(--body-text-color-subdued) }
.av-problem { border-left: 4px solid #c2410c; background: #c2410c1a; padding: .7rem 1rem;
  border-radius: 4px; overflow-wrap: anywhere }
.av-notice { border-left: 4px solid #b45309; padding: .2rem .8rem; margin: .3rem 0 1rem }
.av-near h3 { margin-top: 1.2rem }
.av-strip { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(44%, 170px), 1fr)) }
.av-strip audio { width: 100%; height: 32px; margin-bottom: .3rem }
#clip button[title*="ideo to"] { display: none } /* trimming would fetch a program */
"""

Upload = dict[str, Any] | None
"""A file as gradio hands it over unopened."""
Outputs = tuple[Answer | None, str, str]
"""The result that is kept, the panels, the neighbours."""

HEAD = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'self\' data: blob: '
    "'unsafe-inline' 'unsafe-eval'; connect-src 'self' data: blob:\">"
)
"""The browser asks nobody else for anything, whatever gradio's parts would like to fetch."""

_INTRODUCTION = """
<div class="av-head"><h1>Where does the sound come from?</h1>
<p>Give a picture and a sound, or a clip, and press <b>Localize</b>. The network of
<code>{run}</code> shows which places in the picture go with the sound.</p></div>
"""
_LIMITS = (
    f'<p class="av-soft">Files up to {MAX_UPLOAD_MB} MB and {MAX_PIXELS // 10**6} megapixels, '
    f"{TIMEOUT_S:g} s of decoding. A sound is heard in its middle, a clip is seen in its middle "
    "frame. Nothing leaves this computer.</p>"
)
_SHOW = """() => {
  const box = document.querySelector("#alpha")
  if (box.getBoundingClientRect().top > innerHeight) box.scrollIntoView()
}"""
"""On a phone the result is far below the button."""
_ALPHA_HELP = "Share of the audio-visual map in the blend; the rest is the object map."


def build_page(gradio: Any, demo: Demo, examples: Examples, run: str) -> Any:
    """Return the page as gradio's Blocks.

    Args:
        gradio: The package.
        demo: What localizes.
        examples: Files to try.
        run: Name of the run.
    """
    with gradio.Blocks(title="avpipe", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        kept = gradio.State(None)
        gradio.HTML(_INTRODUCTION.format(run=text(run)))
        with gradio.Row():
            with gradio.Column(scale=2, min_width=300):
                with gradio.Tabs():
                    with gradio.Tab("Picture and sound"):
                        pair = _pair_inputs(gradio)
                        pair_starts = _starts(gradio, "go-pair", pair, examples.pairs)
                    with gradio.Tab("Clip"):
                        clip = _clip_input(gradio)
                        clip_starts = _starts(gradio, "go-clip", clip, examples.clips)
                gradio.HTML(_LIMITS)
            with gradio.Column(scale=3, min_width=300):
                slider = gradio.Slider(
                    0, 1, 0.5, step=0.05, label="alpha", info=_ALPHA_HELP, elem_id="alpha"
                )
                shown = gradio.HTML(EMPTY, elem_id="result")
        near = gradio.HTML("", elem_id="near")

        def on_pair(picture: Upload, sound: Upload, mix: float) -> Outputs:
            return answer(demo, lambda: demo.localize_pair(_path(picture), _path(sound)), mix)

        def on_clip(video: Upload, mix: float) -> Outputs:
            return answer(demo, lambda: demo.localize_clip(_path(video)), mix)

        for starts, does, inputs in ((pair_starts, on_pair, pair), (clip_starts, on_clip, clip)):
            for start in starts:
                done = start(
                    does, [*inputs, slider], [kept, shown, near],
                    preprocess=False, api_visibility="private",
                )  # fmt: skip
                done.then(None, js=_SHOW)
        slider.change(
            lambda found, mix: gradio.skip() if found is None else panels(found, mix),
            [kept, slider], shown,
            show_progress="hidden", trigger_mode="always_last", api_visibility="private",
        )  # fmt: skip
    return page


def answer(demo: Demo, find: Callable[[], Answer], alpha: float) -> Outputs:
    """Return what is kept and what is shown, of a result or of an error."""
    try:
        found = find()
    except AvpipeError as error:
        return None, problem(shown(error)), ""
    return found, panels(found, alpha), neighbors(found, demo.nearest)


def _path(upload: Upload) -> str | None:
    return upload["path"] if upload else None


def _pair_inputs(gradio: Any) -> list[Any]:
    return [
        gradio.Image(
            label="Picture",
            sources=["upload", "clipboard"],
            elem_id="picture",
            height=240,
            buttons=[],
        ),
        gradio.Audio(label="Sound", sources=["upload", "microphone"], elem_id="sound", buttons=[]),
    ]


def _clip_input(gradio: Any) -> list[Any]:
    return [gradio.Video(label="Clip", sources=["upload"], elem_id="clip", height=260, buttons=[])]


def _starts(
    gradio: Any, button_id: str, inputs: list[Any], rows: Sequence[Sequence[Path]]
) -> list[Any]:
    """Add a button and examples; return what starts localizing."""
    button = gradio.Button("Localize", variant="primary", elem_id=button_id)
    examples = gradio.Examples(
        [[str(path) for path in row] for row in rows], inputs, elem_id=f"{button_id}-examples",
        label="Examples: classes of avpipe demo, at most one sounds", cache_examples=False,
        api_visibility="private",
    )  # fmt: skip
    return [button.click, examples.load_input_event.then]
