"""An identity planted in every text element of a DICOM file, and the search for it in whatever was made of the file."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydicom import config, dcmread
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

NUMBER = "195719571957"
"""What stands for the identity in UIDs."""

_LENGTHS = {"AE": 16, "CS": 16, "SH": 16, "DA": 16, "TM": 16, "DT": 26, "LO": 64, "PN": 64}
_LONG = ("LT", "ST", "UC", "UR", "UT")
_NEEDED = frozenset(
    {"PhotometricInterpretation", "SpecificCharacterSet", "SOPClassUID", "VOILUTFunction", "RescaleType", "PixelData"}
)
"""Without these, or with others, a file holds no image; some are planted one at a time."""

_SEQUENCES_OF_PIXELS = frozenset(
    {"ModalityLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"}
)


def plant(path: Path, mark: str, **tags: object) -> Path:
    """Put `mark` into every element of a DICOM file that text fits in: nested, private and of the file meta group too.

    Identifiers get it behind what they were, so that they still tell patients, studies and images apart.

    Args:
        path: the file, which is rewritten.
        mark: the identity, at most 16 letters.
        tags: elements to set besides.
    """
    dataset = dcmread(path)
    before = {name: str(dataset.get(name) or "") for name in ("PatientID", "AccessionNumber")}
    with _unchecked():
        _fill(dataset, mark, nested=2)
        for name, value in before.items():
            setattr(dataset, name, f"{mark}{value}"[:64])
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(dataset, name, f"{str(dataset.get(name) or '1.2')[:50]}.{NUMBER}")
        block = dataset.private_block(0x0029, f"{mark} PRIVATE", create=True)
        block.add_new(1, "LO", mark)
        block.add_new(2, "UT", mark * 9)
        block.add_new(3, "OB", mark.encode())
        block.add_new(4, "SQ", Sequence([_item(mark)]))
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.preamble = (mark * 16).encode()[:128]
        dataset.file_meta.ImplementationVersionName = mark
        dataset.file_meta.SourceApplicationEntityTitle = mark
        dataset.file_meta.SendingApplicationEntityTitle = mark
        dataset.file_meta.PrivateInformationCreatorUID = f"1.2.{NUMBER}"
        dataset.file_meta.PrivateInformation = mark.encode()
        dataset.save_as(path, enforce_file_format=True)
    return path


def traces(folder: Path, mark: str) -> list[str]:
    """The files below a folder that hold the mark or its number: in their names, bytes, table cells and zip members."""
    sought = [mark.lower().encode(), NUMBER.encode()]
    found = []
    for path in sorted(folder.rglob("*")):
        texts = [str(path.relative_to(folder)).encode(), *(_contents(path) if path.is_file() else ())]
        if any(each in text.lower() for each in sought for text in texts):
            found.append(str(path.relative_to(folder)))
    return found


def _contents(path: Path) -> Iterator[bytes]:
    yield path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield str((table.schema.metadata, table.to_pylist())).encode()
    elif path.suffix in (".arrow", ".arrows", ".ipc"):
        with pa.ipc.open_stream(path) if path.suffix == ".arrows" else pa.ipc.open_file(path) as reader:
            yield str(reader.read_all().to_pylist()).encode()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def _fill(dataset: Dataset, mark: str, nested: int) -> None:
    for number, (kinds, _, _, _, keyword) in DicomDictionary.items():
        group, kind = Tag(number).group, kinds.split(" or ")[0]
        if group in (0x0000, 0x0002, 0x0004, 0x7FE0, 0xFFFE) or not keyword or keyword in _NEEDED:
            continue
        if kind in _LENGTHS:
            dataset.add_new(number, kind, mark[: _LENGTHS[kind]])
        elif kind in _LONG:
            dataset.add_new(number, kind, f"seen by {mark}")
        elif kind == "UI" and not dataset.get(keyword):
            dataset.add_new(number, kind, f"1.2.{NUMBER}")
        elif kind == "SQ" and keyword not in _SEQUENCES_OF_PIXELS:
            dataset.add_new(number, kind, Sequence([_item(mark, nested)]))


def _item(mark: str, nested: int = 1) -> Dataset:
    """An item of a sequence, with names and text, and another sequence in it."""
    item = Dataset()
    item.PatientName, item.CodeMeaning, item.TextValue, item.CodeValue = mark, mark, f"of {mark}", mark
    if nested:
        item.ConceptNameCodeSequence = Sequence([_item(mark, nested - 1)])
    return item


@contextmanager
def _unchecked() -> Iterator[None]:
    """Let pydicom write what the standard doesn't allow: people do."""
    settings = config.settings
    reading, writing = settings.reading_validation_mode, settings.writing_validation_mode
    settings.reading_validation_mode = settings.writing_validation_mode = config.IGNORE
    try:
        yield
    finally:
        settings.reading_validation_mode, settings.writing_validation_mode = reading, writing
