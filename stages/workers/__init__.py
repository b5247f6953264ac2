"""Processes beside this one: workers that end with their run, and children that decode."""

from typing import Final

BACKEND: Final = "loky"
"""Who runs workers, by joblib's name."""
TIMEOUT_S = 60.0
"""What a request to a child may take."""
