"""Files broken on purpose or by seed: each is a row or a reject in words, on the way that a scan reads them."""

import re
import tarfile
from pathlib import Path

import pytest
from mutations import LIMITS, failed, mutated, mutations, outcome
from worker_tasks import pydicom_reads

from medino.data import scan
from medino.data.workers import Workers, read_all

WORDS = re.compile(r"[A-Za-z0-9 ,.:;'()\[\]/=*_+-]+")


@pytest.fixture(scope="module")
def hostile(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several hundred DICOM files that somebody made to break readers, unpacked for the time of these tests."""
    archive = shared_data / "dicom_fuzz_v3.tar.xz"
    if not archive.is_file():
        pytest.skip("the archive of hostile files is not here (docs/datasets.md)")
    folder = tmp_path_factory.mktemp("hostile")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder


@pytest.mark.slow
def test_every_hostile_file_is_a_row_or_a_reject_in_words(hostile: Path) -> None:
    manifest = scan([hostile], workers=Workers(2, LIMITS), verify=True)
    files = {path.relative_to(hostile).as_posix() for path in hostile.rglob("*") if path.is_file()}
    rows, rejects = set(manifest.column("path")), {reject.path for reject in manifest.rejects}
    assert rows | rejects == files
    assert len(rows) > 400
    assert len(rejects) > 150
    assert not [reject for reject in manifest.rejects if failed(reject.reason)]
    rejected = [hostile / reject.path for reject in manifest.rejects]
    by_pydicom = read_all(pydicom_reads, rejected, Workers(2, LIMITS), "reading")
    names = {path.stem.split("_", 1)[1] for path, reads in zip(rejected, by_pydicom, strict=True) if reads is True}
    # pydicom lets one sample a pixel pass for RGB, and does not look at the modality LUT, which is text there.
    assert names == {"modality_lut_string", "rgb_spp1"}
    assert all(WORDS.fullmatch(reject.reason) and str(hostile) not in reject.reason for reject in manifest.rejects)


@pytest.mark.slow
def test_hostile_files_give_one_table_whatever_the_number_of_workers(hostile: Path, tmp_path: Path) -> None:
    alone, three = (
        scan([hostile], workers=Workers(count, LIMITS), verify=True, key=tmp_path / "key") for count in (1, 3)
    )
    assert alone.table.equals(three.table)
    assert alone.rejects == three.rejects


@pytest.mark.slow
def test_five_hundred_mutations_are_read_or_rejected_in_words(shared_data: Path) -> None:
    chosen = list(mutations(shared_data, range(500)))
    told = dict(zip(chosen, read_all(outcome, chosen, Workers(2, LIMITS), "mutations"), strict=True))
    wrong = {f"seed {mutation.seed} of {mutation.original.name}": why for mutation, why in told.items() if failed(why)}
    assert wrong == {}
    assert sum(why == "read" for why in told.values()) > 100


def test_a_mutation_is_the_same_for_its_seed(shared_data: Path) -> None:
    for mutation, again in zip(mutations(shared_data, range(20)), mutations(shared_data, range(20)), strict=True):
        assert mutated(mutation) == mutated(again)
