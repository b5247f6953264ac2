"""`python -m avpipe` and the `avpipe` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from .stopping import end_at_last

    end_at_last()
    from .pipeline.main import main as run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
