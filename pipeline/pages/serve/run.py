"""`avpipe serve`: a run in the browser, on this computer alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any

from ....cache.store import Cache
from ....drafts import temporary_folder
from ....errors import AvpipeError, InputError, MissingDependencyError, UsageError
from ...run_folders import one_run_folder

HOST = "127.0.0.1"
_SESSIONS = 50
"""Browser windows whose maps are kept."""


def serve(
    named: Path,
    clips: Path | None,
    *,
    port: int,
    device: str,
    weights: tuple[str, ...],
    ready: Callable[[str], None],
    notify: Callable[[str], None],
) -> None:
    """Serve a run until Ctrl-C.

    Args:
        named: The run.
        clips: A cache whose clips are compared with, if there is one.
        port: 0 for any that is free.
        device: Of the network.
        weights: Where the teachers of a run on cached features come from.
        ready: Called with the page's address.
        notify: Called with what is being done until then.

    Raises:
        MissingDependencyError: gradio is not installed.
        UsageError: The port is taken.
        InputError: No run, or no cache.
    """
    if find_spec("gradio") is None:
        raise MissingDependencyError("the page needs gradio: pip install 'avpipe[serve]'")
    port = free_port(port)
    run, cache = one_run_folder(named), _cache(clips)
    notify(f"loading {run}, then gradio and the page: some seconds each")
    from ....train.show.overlays import object_map_maker
    from .answers import Demo
    from .examples import write_examples
    from .form import build_page

    localizer, nearest = _loaded(run, device, weights, cache)
    with (
        temporary_folder() as folder,
        Demo(localizer, *object_map_maker(), nearest) as demo,
    ):
        notify("loading gradio")
        gradio = _gradio(Path(folder, "uploads"))
        notify("making the page")
        samples = Path(folder, "examples")
        samples.mkdir()
        page = build_page(gradio, demo, write_examples(samples), run.resolve().name)
        _launch(gradio, page, port)
        ready(f"http://{HOST}:{port}")
        with suppress(KeyboardInterrupt):  # the usual end
            Event().wait()
        page.close(verbose=False)


def free_port(wanted: int) -> int:
    """Return the port, or any free one for 0.

    Raises:
        UsageError: It cannot be had.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise UsageError(
                f"--port {wanted}: {error.strerror}; name another, or 0 for any free one"
            ) from None
        port: int = probe.getsockname()[1]
    return port


def _cache(folder: Path | None) -> Cache | None:
    if folder is None:
        return None
    cache = Cache(folder)
    if not len(cache):
        raise InputError(f"{cache.path} has no finished clip to compare with; leave out --cache")
    return cache


def _loaded(
    run: Path, device: str, weights: tuple[str, ...], cache: Cache | None
) -> tuple[Any, Any]:
    """Return the run's localizer, and the clips to compare with if there are some."""
    from ....train.runs.localizer import load_run
    from ...watch import watch
    from .nearest import embed_cache

    localizer = load_run(run, device, weights=weights)
    localizer.load_teachers()
    if cache is None:
        return localizer, None
    with watch("neighbours") as update:
        return localizer, embed_cache(localizer, cache, update)


def _gradio(uploads: Path) -> Any:
    """Import gradio, which reads these when it is imported; nothing is reported to anybody."""
    for name in ("NO_PROXY", "no_proxy"):  # it asks its own server whether it is there
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), HOST)))
    os.environ.update(
        GRADIO_ANALYTICS_ENABLED="False",
        GRADIO_TEMP_DIR=str(uploads),
        HF_HUB_DISABLE_TELEMETRY="1",
    )
    return import_module("gradio")


def _launch(gradio: Any, page: Any, port: int) -> None:
    """Start the server in a thread, on this computer alone, with fonts of the system.

    Raises:
        AvpipeError: gradio starts it without the guard.
    """
    from .answers import MAX_UPLOAD_MB
    from .form import CSS, HEAD
    from .guard import Guard, guarded

    fonts = ["system-ui", "sans-serif"]
    theme = gradio.themes.Base(font=fonts, font_mono=["ui-monospace", "monospace"]).set(
        body_text_color_subdued="*neutral_500",  # the theme's own are too faint to read
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
    )
    page.launch(
        server_name=HOST,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        ssr_mode=False,
        run_history=False,
        footer_links=[],
        max_file_size=f"{MAX_UPLOAD_MB}mb",
        state_session_capacity=_SESSIONS,
        theme=theme,
        css=CSS,
        head=HEAD,
        app_kwargs={"lifespan": guarded(port)},
    )
    if not isinstance(page.app.middleware_stack, Guard):  # of some other version of gradio
        page.close(verbose=False)
        raise AvpipeError("gradio let no guard stand before its page; pip install 'avpipe[serve]'")
