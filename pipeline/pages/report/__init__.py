"""`avpipe report`: all that is known of runs on one page. Begin with `run.py`."""
