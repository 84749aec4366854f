"""The manifest comes back as it was written, keeps its fingerprint when moved, and loses no file silently."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from medino.core import InputError
from medino.data.manifest import Manifest, rejects_path
from medino.data.rejects import record_rejects
from medino.data.schema import MANIFEST_VERSION, Reject, Sample
from medino.data.source import Source


def sample(index: int, **changes: object) -> Sample:
    facts: dict[str, object] = dict.fromkeys(field.name for field in dataclasses.fields(Sample))
    facts |= {
        "sample_id": f"s{index}",
        "root": 0,
        "path": f"a/{index // 2}.dcm",
        "format": "dicom",
        "frame": index % 2,
        "patient": f"p{index // 4}",
        "study": "st",
        "series": "se",
        "patient_unit": "patient",
        "rows": 32,
        "columns": 48,
        "samples_per_pixel": 1,
        "label": ["nodule", None][index % 2],
    }
    return Sample(**(facts | changes))  # type: ignore[arg-type]


def manifest(count: int = 8, **facts: object) -> Manifest:
    return Manifest.from_samples([sample(index) for index in range(count)], **({"roots": (Path("/data"),)} | facts))


def test_a_manifest_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    rejects = (Reject(0, "a/broken.dcm", None, "not an image"),)
    written = manifest(rejects=rejects, mask_roots=(Path("/masks"),), name="lungs", settings={"plane": 2})
    written.write(tmp_path / "cohort.parquet")
    read = Manifest.read(tmp_path / "cohort.parquet")
    assert list(read.samples()) == list(written.samples()) == [sample(index) for index in range(8)]
    assert (read.rejects, read.roots, read.mask_roots) == (rejects, (Path("/data"),), (Path("/masks"),))
    assert (read.name, read.settings, read.fingerprint) == ("lungs", {"plane": 2}, written.fingerprint)


def test_both_files_carry_a_schema_version(tmp_path: Path) -> None:
    manifest().write(tmp_path / "cohort.parquet")
    for path in (tmp_path / "cohort.parquet", tmp_path / "cohort.rejects.parquet"):
        assert pq.read_schema(path).metadata[b"schema_version"] == str(MANIFEST_VERSION).encode()


def test_the_fingerprint_stays_when_the_files_are_moved_and_changes_with_what_they_are() -> None:
    here = manifest()
    moved = manifest(roots=(Path("/elsewhere"),)).with_column("path", [f"b/{index}" for index in range(8)])
    assert moved.fingerprint == here.fingerprint
    assert here.with_column("label", ["x"] * 8).fingerprint != here.fingerprint
    assert here.select([1, 0, *range(2, 8)]).fingerprint != here.fingerprint


def test_rows_are_selected_by_flags_and_by_indices() -> None:
    whole = manifest()
    flags = np.arange(8) % 2 == 0
    assert [row.sample_id for row in whole.select(flags).samples()] == ["s0", "s2", "s4", "s6"]
    assert [row.sample_id for row in whole.select([5, 1]).samples()] == ["s5", "s1"]
    assert len(whole.select([])) == 0
    with pytest.raises(ValueError, match="manifest of 8 rows"):
        whole.select([True, False])


def test_a_column_keeps_its_nulls() -> None:
    assert list(manifest(2).column("label")) == ["nodule", None]
    assert list(manifest(2).with_column("split", [None, "test"]).column("split")) == [None, "test"]
    assert manifest().labels == ["nodule"]


def test_files_are_found_from_their_roots() -> None:
    rows = [sample(0), sample(2, mask_root=0, mask_path="m/1.png", mask_frame=0)]
    made = Manifest.from_samples(rows, roots=(Path("/data"),), mask_roots=(Path("/masks"),))
    assert made.source(1).path == Path("/data/a/1.dcm")
    assert [made.mask_source(0), made.mask_source(1)] == [None, Source(Path("/masks/m/1.png"))]


def test_the_patient_unit_names_every_kind() -> None:
    assert manifest().patient_unit == "patient"
    mixed = manifest(3).with_column("patient_unit", ["file", "patient", "study"])
    assert mixed.patient_unit == "patient+study+file"


def test_what_fails_in_decoding_moves_to_the_rejects(tmp_path: Path) -> None:
    path = tmp_path / "cohort.parquet"
    manifest(roots=(tmp_path,)).write(path)
    left = record_rejects(path, [Reject(0, "a/0.dcm", 1, "cut short"), Reject(0, "a/2.dcm", None, "no decoder")])
    assert [row.sample_id for row in left.samples()] == ["s0", "s2", "s3", "s6", "s7"]
    again = record_rejects(path, [Reject(0, "a/0.dcm", 1, "cut short")])
    assert [reject.reason for reject in Manifest.read(path).rejects] == ["cut short", "no decoder"]
    assert again.fingerprint == left.fingerprint


def test_no_file_is_rejected_because_its_disk_is_away(tmp_path: Path) -> None:
    path = tmp_path / "cohort.parquet"
    manifest(roots=(tmp_path / "unmounted",)).write(path)
    with pytest.raises(InputError, match="unmounted is not there"):
        record_rejects(path, [Reject(0, "a/0.dcm", None, "the file is not there")])
    assert len(Manifest.read(path)) == 8


def test_a_manifest_that_was_exported_without_places_says_so(tmp_path: Path) -> None:
    manifest().without_places().write(tmp_path / "export.parquet")
    with pytest.raises(InputError, match="does not say where its images lie"):
        Manifest.read(tmp_path / "export.parquet").check_roots()


def test_a_manifest_without_its_rejects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cohort.parquet"
    manifest().write(path)
    rejects_path(path).unlink()
    with pytest.raises(InputError, match=r"cohort\.rejects\.parquet does not exist"):
        Manifest.read(path)


def test_a_table_that_does_not_fit_the_schema_is_refused() -> None:
    table = manifest().table
    with pytest.raises(InputError, match="lacks the columns label, split"):
        Manifest(table.drop_columns(["label", "split"]))
    with pytest.raises(InputError, match="does not fit its schema"):
        manifest().with_column("patient", [None] * 8)


def test_a_printed_manifest_shows_no_path() -> None:
    assert repr(manifest(rejects=(Reject(0, "a/x", None, "why"),))) == "Manifest('cohort', 8 rows, 1 rejects)"
