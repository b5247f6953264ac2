"""What decodes: one file each, found by its name; `pyav.py` is the choice `pyav`."""
