"""`python -m avpipe` and the `avpipe` command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # threads that spin while they wait bring training to a crawl where others use the cores too
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from .pipeline.main import main as run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
