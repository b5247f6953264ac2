"""`embed`: each pretrained network sees or hears every clip once. Begin with `run.py`."""

BATCH_SIZE = 32
"""Clips that a network takes at a time."""
