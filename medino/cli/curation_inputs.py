"""What `medino check` and `medino curate` start from: a manifest, features where given, settings, and who reads."""

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

from jsonargparse import Namespace

from medino.cli.reading_options import chosen_workers

if TYPE_CHECKING:
    from medino.data import Manifest
    from medino.data.workers import Workers
    from medino.features import FeatureTable

S = TypeVar("S")


def curation_inputs(config: Namespace, kind: type[S]) -> "tuple[Manifest, S, FeatureTable | None, Workers]":
    """Read what the options name.

    Args:
        config: the options, among them `cohort`, `features`, the fields of the settings and `add_reading_options`.
        kind: the settings' dataclass.

    Raises:
        InputError: a file can't be read, or a setting can't be what it stands for.
    """
    from medino.data import Manifest
    from medino.features import FeatureTable

    workers = chosen_workers(config)
    fields: Any = dataclasses.fields(kind)  # type: ignore[arg-type]
    settings = kind(**{field.name: config[field.name] for field in fields})
    manifest = Manifest.read(config.cohort)
    return manifest, settings, None if config.features is None else FeatureTable.read(config.features), workers
