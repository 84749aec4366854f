"""Small DICOM files of known content."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

WriteDicom = Callable[..., Path]
Encode = Callable[[Path, str, list[bytes]], Path]


@pytest.fixture
def write_dicom(tmp_path: Path) -> WriteDicom:
    """Write stored values as an uncompressed CT; keywords are further elements, None leaves one out."""

    def write(values: np.ndarray, name: str = "image.dcm", **elements: object) -> Path:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3.4"
        dataset.Modality = "CT"
        dataset.Rows, dataset.Columns = values.shape[-2:]
        if values.ndim == 3:
            dataset.NumberOfFrames = values.shape[0]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        bits = values.dtype.itemsize * 8
        dataset.BitsAllocated = dataset.BitsStored = bits
        dataset.HighBit = bits - 1
        if values.dtype.kind == "f":
            setattr(dataset, "FloatPixelData" if bits == 32 else "DoubleFloatPixelData", values.tobytes())
        else:
            dataset.PixelRepresentation = int(values.dtype.kind == "i")
            dataset.PixelData = values.tobytes()
        for keyword, value in elements.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        path = tmp_path / name
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def encode() -> Encode:
    """Put encoded frames in the place of a file's pixel data, with the transfer syntax that they have."""

    def replace(path: Path, syntax: str, frames: list[bytes]) -> Path:
        dataset = dcmread(path)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate(frames)
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path, enforce_file_format=True)
        return path

    return replace
