"""Writes the phantom archive: DICOM files, mask images and labels, the same bytes for the same settings."""

import csv
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from medino.core import InputError, numpy_generator, read_json, track, write_json
from medino.data.phantom.anatomy import draw_anatomy, draw_chest
from medino.data.phantom.findings import LABELS, draw_finding, draw_findings
from medino.data.phantom.scanners import SCANNERS, Scanner

PHANTOM_VERSION = 1
"""Version of what is drawn: an archive of another version is not taken for this one."""

FIELD_OF_VIEW_MM = 360.0
"""Side of the square that an image shows."""

SMALLEST_SIZE = 32
"""Below this side, in pixels, a nodule is smaller than the softness of its outline."""

IMAGES_PER_STUDY = 3
"""A patient comes back: more images than this are spread over several studies."""

LUNG, FINDING = 1, 2
"""Values in a mask image; 0 is the rest."""


@dataclass(frozen=True)
class PhantomArchive:
    """Where the parts of the archive lie.

    Attributes:
        images: folder of DICOM files, a folder for each patient.
        masks: folder of PNG masks, each under the relative path of its image: 1 lung field, 2 finding.
        labels: CSV with the columns `patient` (PatientID) and `label`.
    """

    images: Path
    masks: Path
    labels: Path


def write_phantom(
    folder: str | Path, *, patients: int = 60, images_per_patient: int = 5, size: int = 96, seed: int = 0
) -> PhantomArchive:
    """Write the archive, or find it where the same one was written before.

    Classes are of equal size, and each class is split evenly over the two scanners, so that the scanner says nothing
    about the class. One file more is cut off in the middle, as by a broken transfer, without a mask.

    Args:
        folder: where to write; made new, or already holding this very archive.
        patients: how many patients.
        images_per_patient: exposures of each, in slightly different poses.
        size: side of the images, in pixels.
        seed: of everything drawn.

    Raises:
        InputError: a number is too small, or the folder holds something else.
    """
    folder = Path(folder)
    if patients < 1 or images_per_patient < 1:
        raise InputError(f"a phantom of {patients} patients with {images_per_patient} images is empty; give 1 or more")
    if size < SMALLEST_SIZE:
        raise InputError(f"phantom images of {size} px are too small to show findings; give {SMALLEST_SIZE} or more")
    settings = {
        "schema_version": PHANTOM_VERSION,
        "patients": patients,
        "images_per_patient": images_per_patient,
        "size": size,
        "seed": seed,
    }
    if folder.is_file():
        raise InputError(f"{folder} is a file; give a folder for the phantom archive")
    if folder.is_dir() and any(folder.iterdir()):
        marker = folder / "phantom.json"
        if not marker.is_file() or read_json(marker) != settings:
            raise InputError(
                f"{folder} holds something else than this phantom archive; empty it or give another folder"
            )
        return _archive(folder)
    # Drawn beside the folder and moved in one step: what is killed on the way leaves no half archive behind.
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    _write(_archive(part), patients, images_per_patient, size, seed)
    write_json(part / "phantom.json", settings)
    if folder.is_dir():
        folder.rmdir()
    part.replace(folder)
    return _archive(folder)


def _archive(folder: Path) -> PhantomArchive:
    return PhantomArchive(folder / "images", folder / "masks", folder / "labels.csv")


def _write(archive: PhantomArchive, patients: int, images_per_patient: int, size: int, seed: int) -> None:
    """Draw and write all patients, their labels and the damaged file."""
    order = numpy_generator(seed, "phantom order").permutation(patients)
    rows = []
    for index in track(range(patients), "writing the phantom archive"):
        label = LABELS[order[index] % len(LABELS)]
        scanner = SCANNERS[order[index] // len(LABELS) % len(SCANNERS)]
        patient = f"{index + 1:04d}"
        rows.append((f"PHANTOM-{patient}", label))
        _write_patient(archive, patient, label, scanner, images_per_patient, size, seed)
    with archive.labels.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("patient", "label"), *rows])
    whole = (archive.images / "0001" / "1.dcm").read_bytes()
    (archive.images / "0001" / "damaged.dcm").write_bytes(whole[: len(whole) // 2])


def _write_patient(
    archive: PhantomArchive, patient: str, label: str, scanner: Scanner, images: int, size: int, seed: int
) -> None:
    """Draw one patient and write each exposure and its mask."""
    generator = numpy_generator(seed, "phantom patient", patient)
    anatomy = draw_anatomy(generator)
    findings = draw_findings(label, anatomy, generator)
    (archive.images / patient).mkdir(parents=True)
    (archive.masks / patient).mkdir(parents=True)
    for exposure in range(1, images + 1):
        x, y = _posed_grid(size, generator)
        image, lungs = draw_chest(anatomy, x, y, breath=float(generator.normal(0, 0.04)))
        mask = np.where(lungs > 0.5, LUNG, 0).astype(np.uint8)
        growth = float(generator.uniform(0.9, 1.1))
        for finding in findings:
            added, where = draw_finding(finding, x, y, growth)
            image += added * lungs
            mask[where & (lungs > 0.5)] = FINDING
        stored = scanner.acquire(image, generator)
        _write_dicom(archive.images / patient / f"{exposure}.dcm", stored, patient, exposure, scanner, seed)
        Image.fromarray(mask).save(archive.masks / patient / f"{exposure}.png")


def _posed_grid(size: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places of the pixels in the patient's coordinates: turned, shifted and scaled a little for each exposure."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(line, line, indexing="ij")
    angle, zoom = np.deg2rad(generator.normal(0, 2.5)), generator.uniform(0.95, 1.05)
    shift_x, shift_y = generator.normal(0, 0.03, 2)
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    posed_x, posed_y = cosine * x - sine * y + shift_x, sine * x + cosine * y + shift_y
    return posed_x.astype(np.float32), posed_y.astype(np.float32)


def _write_dicom(path: Path, stored: np.ndarray, patient: str, exposure: int, scanner: Scanner, seed: int) -> None:
    """Write one exposure as a Computed Radiography image, explicit little endian, 12 bits in 16."""
    study = (exposure - 1) // IMAGES_PER_STUDY + 1
    instance = _uid(seed, stored.shape[0], patient, study, exposure)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID = ComputedRadiographyImageStorage
    file.SOPInstanceUID = instance
    file.StudyInstanceUID = _uid(seed, stored.shape[0], patient, study)
    file.SeriesInstanceUID = _uid(seed, stored.shape[0], patient, study, "series")
    file.StudyID, file.SeriesNumber, file.InstanceNumber = str(study), 1, exposure
    file.PatientID, file.PatientName = f"PHANTOM-{patient}", f"PHANTOM^{patient}"
    file.PatientBirthDate, file.PatientSex, file.ReferringPhysicianName = "", "", ""
    file.StudyDate, file.StudyTime, file.AccessionNumber = f"2000010{study % 10}", "", f"PHANTOM-{patient}-{study}"
    file.Modality, file.BodyPartExamined, file.ViewPosition = "CR", "CHEST", "PA"
    file.PatientOrientation = ["L", "F"]
    file.Manufacturer, file.ManufacturerModelName = scanner.manufacturer, scanner.model
    file.ImageType = ["DERIVED", "PRIMARY"]
    file.Rows, file.Columns = stored.shape
    file.PixelSpacing = [round(FIELD_OF_VIEW_MM / side, 4) for side in stored.shape]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, scanner.photometric
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    if scanner.rescale is not None:
        file.RescaleSlope, file.RescaleIntercept = scanner.rescale
        file.RescaleType = "US"
    file.WindowCenter, file.WindowWidth = scanner.shown_window()
    file.PixelData = stored.astype("<u2").tobytes()
    file.save_as(path, enforce_file_format=True)


def _uid(*parts: object) -> UID:
    """A valid UID made from `parts`: the arc 2.25 takes any 128-bit number."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).digest()
    return UID(f"2.25.{int.from_bytes(digest, 'big')}")
