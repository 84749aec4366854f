"""Drawn volumes with something in them: a bright ellipsoid, as NIfTI in any orientation or as a DICOM series."""

from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SHAPE = (28, 24, 10)
"""Voxels to the right, to the front, to the head."""

SPACING = (0.8, 0.9, 2.0)


def ellipsoid() -> np.ndarray:
    """(28, 24, 10) bool, off the centre in every axis."""
    place = np.stack(np.indices(SHAPE), axis=-1)
    return (((place - [16, 10, 5]) / [7.0, 6.0, 4.2]) ** 2).sum(axis=-1) <= 1


def write_pair(folder: Path, codes: str = "RAS", labelled: int | None = None) -> tuple[Path, Path]:
    """A NIfTI volume and its label volume (value 2), stored along the axes that `codes` says.

    Args:
        folder: where to.
        codes: nibabel's axis codes.
        labelled: the axial slice that the label volume marks; None marks all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inside = ellipsoid()
    noise = np.random.default_rng(0).normal(0, 20, SHAPE)
    mask = np.where(inside, 2, 0)
    if labelled is not None:
        mask[..., np.arange(SHAPE[2]) != labelled] = 0
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = [-11, 5, 40]
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    paths = []
    for name, values in (("image", 1000.0 * inside + noise), ("mask", mask)):
        stored = apply_orientation(values, turn).astype(np.float32 if name == "image" else np.uint8)
        paths.append(folder / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(stored, affine @ inv_ornt_aff(turn, SHAPE)), paths[-1])
    return paths[0], paths[1]


def write_ct(folder: Path, **tags: object) -> list[Path]:
    """The same ellipsoid as a CT series, whose files' names say nothing of the order."""
    folder.mkdir(parents=True, exist_ok=True)
    inside, paths = ellipsoid(), []
    for index in range(SHAPE[2]):
        dataset = Dataset()
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.7.{index + 1}"
        dataset.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.5"
        dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.6"
        dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.8"
        dataset.PatientID, dataset.PatientName, dataset.Modality = "MRN-27182", "Doe^Jane", "CT"
        dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200101", "120000", "1"
        dataset.SeriesNumber, dataset.InstanceNumber, dataset.Manufacturer = 1, 100 - index, "SIEMENS"
        dataset.PositionReferenceIndicator = ""
        dataset.Rows, dataset.Columns = SHAPE[1], SHAPE[0]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 1
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1000, "HU"
        dataset.PixelSpacing, dataset.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [-10, -12, 2 * index]
        dataset.WindowCenter, dataset.WindowWidth = 0, 2000
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.PixelData = (1500 * inside[..., index].T + 200).astype(np.int16).tobytes()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        paths.append(folder / f"{(index * 7) % 10}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return sorted(paths, key=lambda path: float(dcmread(path).ImagePositionPatient[2]))


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Of two boolean arrays."""
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))
