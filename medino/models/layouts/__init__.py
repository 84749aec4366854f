"""The layouts in which backbones of the DINO family are published, each brought into the names of Meta's files."""

from medino.models.layouts.families import INTERPOLATIONS, Family, Interpolation, Published, published, resizing
from medino.models.layouts.folders import hugging_face_folder, is_hugging_face_folder
from medino.models.layouts.wrappings import unwrapped

__all__ = [
    "INTERPOLATIONS",
    "Family",
    "Interpolation",
    "Published",
    "hugging_face_folder",
    "is_hugging_face_folder",
    "published",
    "resizing",
    "unwrapped",
]
