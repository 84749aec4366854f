"""Slices to volumes: which belong together, in which order, and what is wrong with them."""

from medino.data.volumes.arrangement import Arrangement, arrange, levels_of, normal_of
from medino.data.volumes.find import Volume, find_volumes
from medino.data.volumes.neighbours import adjacent_slices
from medino.data.volumes.problems import Problem

__all__ = ["Arrangement", "Problem", "Volume", "adjacent_slices", "arrange", "find_volumes", "levels_of", "normal_of"]
