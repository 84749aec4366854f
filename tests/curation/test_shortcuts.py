"""Facts about the files that tell the label are found, and others are not."""

import numpy as np
import pytest
from sample_rows import REQUIRED

from medino.curation import find_shortcuts
from medino.data import Manifest, Sample

PATIENTS = 60


def cohort(rigged: str | None) -> Manifest:
    """Patients with two images each; `rigged` is a column that follows the label."""
    generator = np.random.default_rng(0)
    rows = []
    for patient in range(PATIENTS):
        label = ("healthy", "ill")[patient % 2]
        facts: dict[str, object] = {
            "manufacturer": str(generator.choice(["A", "B"])),
            "file_bytes": int(generator.integers(1000, 2000)),
        }
        if rigged == "manufacturer":
            facts["manufacturer"] = "A" if label == "ill" else "B"
        if rigged == "file_bytes":
            facts["file_bytes"] = int(generator.integers(1000, 1500)) + 600 * (label == "ill")
        for image in range(2):
            identity = {"format": "raster", "sample_id": f"{patient}-{image}", "patient": f"p{patient}", "label": label}
            rows.append(Sample(**(REQUIRED | identity | facts)))
    return Manifest.from_samples(rows)


@pytest.mark.parametrize("rigged", ["manufacturer", "file_bytes"])
def test_a_fact_that_follows_the_label_is_a_leak(rigged: str) -> None:
    found = {shortcut.fact: shortcut for shortcut in find_shortcuts(cohort(rigged))}
    assert found[rigged].leak
    assert found[rigged].accuracy == pytest.approx(1, abs=0.05)
    assert found[rigged].patients == PATIENTS
    other = {"manufacturer": "file_bytes", "file_bytes": "manufacturer"}[rigged]
    assert not found[other].told


def test_facts_that_say_nothing_are_no_leak() -> None:
    found = find_shortcuts(cohort(None))
    assert {shortcut.fact for shortcut in found} == {"manufacturer", "file_bytes", "all together"}
    assert not any(shortcut.told or shortcut.leak for shortcut in found)
    for shortcut in found:
        assert shortcut.by_chance == pytest.approx(0.5, abs=0.1)


def test_the_same_seed_finds_the_same() -> None:
    assert find_shortcuts(cohort(None), seed=2) == find_shortcuts(cohort(None), seed=2)


def test_too_few_patients_or_one_label_are_not_looked_at() -> None:
    manifest = cohort(None)
    assert find_shortcuts(manifest.select(np.arange(len(manifest)) < 30)) == []
    assert find_shortcuts(manifest.with_column("label", ["ill"] * len(manifest))) == []
    assert find_shortcuts(manifest.with_column("label", [None] * len(manifest))) == []
