"""Messages between the decoder and its parent."""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from avpipe.stages.workers.messages import receive, send


@pytest.fixture
def many_files() -> Iterator[None]:
    """Keep the first 1,100 file descriptors open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("no more than 1,200 files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    with ExitStack() as stack:
        while True:
            number = os.open(os.devnull, os.O_RDONLY)
            stack.callback(os.close, number)
            if number >= 1100:
                break
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_deadlines_work_beyond_1024_open_files() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as answers, open(writing, "wb", 0) as requests:  # noqa: PTH123
        assert reading > 1024
        send(requests, {"a": np.arange(3, dtype=np.uint8), "b": b"x", "c": 1})
        message = receive(answers, time.monotonic() + 10)
        assert (message["a"].tolist(), message["b"], message["c"]) == ([0, 1, 2], b"x", 1)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            receive(answers, started + 0.05)
        assert 0.05 <= time.monotonic() - started < 5
        requests.close()
        with pytest.raises(EOFError):
            receive(answers, time.monotonic() + 10)
