"""Sounds of nothing in the picture, for any benchmark: made or borrowed, heard, and scored."""
