"""What all rooms stand on: errors, addressed randomness, whole files, tables with a schema, the run folder, colours."""

from medino.core.devices import to_device
from medino.core.errors import (
    InputError,
    InterruptedRunError,
    MedinoError,
    TrainingStoppedError,
    UnreadableImageError,
)
from medino.core.files import (
    existing_file,
    existing_folder,
    file_fingerprint,
    file_sha256,
    free_bytes,
    read_json,
    size_in_words,
    whole_file,
    whole_folder,
    write_json,
)
from medino.core.memory import keep_freed_memory
from medino.core.palette import OKABE_ITO
from medino.core.progress import ProgressBar, track
from medino.core.randomness import derive_seed, numpy_generator, torch_generator
from medino.core.runs import RunFolder, patients_seen_by, read_provenance, write_provenance
from medino.core.tables import column, optional, read_table, schema_of, table_fingerprint, write_table

__all__ = [
    "OKABE_ITO",
    "InputError",
    "InterruptedRunError",
    "MedinoError",
    "ProgressBar",
    "RunFolder",
    "TrainingStoppedError",
    "UnreadableImageError",
    "column",
    "derive_seed",
    "existing_file",
    "existing_folder",
    "file_fingerprint",
    "file_sha256",
    "free_bytes",
    "keep_freed_memory",
    "numpy_generator",
    "optional",
    "patients_seen_by",
    "read_json",
    "read_provenance",
    "read_table",
    "schema_of",
    "size_in_words",
    "table_fingerprint",
    "to_device",
    "torch_generator",
    "track",
    "whole_file",
    "whole_folder",
    "write_json",
    "write_provenance",
    "write_table",
]
