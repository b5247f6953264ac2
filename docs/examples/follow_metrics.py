"""Send the losses of a run to a tracker while it trains: follow_metrics.py RUN [wandb|trackio].

For MLflow: `mlflow.log_metrics(line, step=line["step"])`. A line is whole once it ends; its first
key, `crc32`, is a checksum and no figure.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

Log = Callable[[dict[str, float], int], object]


def follow(path: Path, log: Log, is_over: Callable[[], bool] = lambda: False) -> None:
    """Call `log(figures, step)` for every line of `metrics.jsonl`, old and new."""
    with path.open() as file:
        text = ""
        while True:
            ended = is_over()
            text += file.readline()
            if text.endswith("\n"):
                line = {name: value for name, value in json.loads(text).items() if name != "crc32"}
                log(line, int(line["step"]))
                text = ""
            elif ended:
                return
            else:
                time.sleep(2)


if __name__ == "__main__":
    tracker = importlib.import_module(sys.argv[2] if len(sys.argv) > 2 else "wandb")
    tracker.init(project="avpipe", name=sys.argv[1])
    follow(
        Path(sys.argv[1], "metrics.jsonl"), lambda figures, step: tracker.log(figures, step=step)
    )
