"""`avpipe localize`: files, pictures with sounds and cached clips become pictures and films."""

EVERY_S = 0.5
"""Between two maps of a film."""
