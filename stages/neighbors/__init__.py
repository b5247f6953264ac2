"""Neighbours and clusters by one encoder's vectors; `knn` is the plain search."""

from .cosine import knn

__all__ = ["knn"]
