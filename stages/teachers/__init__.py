"""Pretrained networks, run once: one file each, found by its name in `visual/` and `audio/`."""
