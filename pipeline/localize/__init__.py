"""`avpipe localize`: files, pictures with sounds and cached clips become pictures and films."""

EVERY_S = 0.5
"""Between two maps of a film."""
PICTURE, FILM, STRIP = ".png", ".mp4", ".strip.png"
"""How the names of what is drawn end, behind a clip's id."""
