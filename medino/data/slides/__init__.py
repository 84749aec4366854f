"""Slides: pyramids opened, tissue found, tiles laid on a grid and read at the resolution that was asked for."""

from medino.data.slides.settings import Tiles

__all__ = ["Tiles"]
