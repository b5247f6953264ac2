"""Pretrained networks that commands run: which, from which files, on how many threads."""
