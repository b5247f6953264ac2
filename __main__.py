"""`python -m avpipe` and the `avpipe` command."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from .stopping import end_at_last

    end_at_last()
    from .pipeline.main import main as run

    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left but to wait for threads
    sys.exit(code)


if __name__ == "__main__":
    main()
