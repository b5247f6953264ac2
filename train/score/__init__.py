"""From runs to figures: maps are computed once and stored, then scored by a protocol."""
