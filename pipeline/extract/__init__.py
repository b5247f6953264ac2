"""`avpipe extract`: inputs become manifest lines, manifest lines shards. Begin with `run.py`."""
