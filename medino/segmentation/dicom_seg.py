"""Masks as a DICOM segmentation that refers to the images that they were made from (highdicom, the extra `dicomseg`).

The object is filed with its images: it carries their patient and study as they stand in the files, names included.
"""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from medino import __version__
from medino.core import InputError, UnreadableImageError, whole_file
from medino.data import Source

TYPE_2 = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
"""Must be there and may be empty (PS3.3 C.7.1.1, C.7.2.1). Who takes names out of files often takes them out whole."""

SCHEME = "99MEDINO"
"""Of the classes' codes: `99` marks a private coding scheme (PS3.16, section 8.2), since what a class is called is the
user's own word."""

SHORT, LONG = 16, 64
"""Characters of a code (SH) and of a label (LO), PS3.5 table 6.2-1."""

SERIES_NUMBER = 1
INSTANCE_NUMBER = 1


def check_highdicom() -> None:
    """See that highdicom is there, before any work is done.

    Raises:
        InputError: it is not.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise InputError("DICOM segmentations need highdicom; install medino[dicomseg]") from error


def write_dicom_seg(
    path: Path,
    sources: Sequence[tuple[Source, int]],
    masks: np.ndarray,
    class_names: Sequence[str],
    model: str,
) -> None:
    """Write masks of one series' images as a binary DICOM segmentation, whole or not at all.

    Args:
        path: where to.
        sources: the file and the frame of each image: of one file each, or all frames of one file.
        masks: (N, H, W, C) bool, classes without the background; they may overlap.
        class_names: of the C classes.
        model: what made the masks, such as the fingerprint of the weights; kept as the device's serial number.

    Raises:
        UnreadableImageError: a file can't be read, lacks what a segmentation must repeat of it, or is not wholly there.
        InputError: highdicom is not installed, or the disk is full.
    """
    check_highdicom()
    import highdicom
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    images, order = _images(sources)
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="medino", version=__version__, family=codes.DCM.ArtificialIntelligence
    )
    segments = [
        SegmentDescription(
            segment_number=number,
            segment_label=name[:LONG],
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=Code(_code(name, number), SCHEME, name[:LONG]),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for number, name in enumerate(class_names, start=1)
    ]
    with _in_words(), _silent():
        made = Segmentation(
            source_images=images,
            pixel_array=masks[order].astype(np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=segments,
            series_instance_uid=highdicom.UID(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=INSTANCE_NUMBER,
            manufacturer="medino",
            manufacturer_model_name="medino",
            software_versions=__version__,
            device_serial_number=model[:LONG],
            content_label="SEGMENTATION",
            series_description="Segmentation by medino",
        )
        _complete(made, images[0])
    with whole_file(path) as temporary:
        made.save_as(temporary)


def _complete(made: Dataset, image: Dataset) -> None:
    """Say what highdicom leaves unsaid where the images say nothing."""
    if "PlaneOrientationSequence" not in made.SharedFunctionalGroupsSequence[0]:
        # Where no cosines tell how an image lies, words have to, be they none (PS3.3 C.7.6.1).
        made.PatientOrientation = image.get("PatientOrientation") or ""
    if "DeidentificationMethod" in made and not made.DeidentificationMethod:
        # It may be left out, but not be empty (PS3.3 C.7.1.1); left out, it would need codes.
        made.DeidentificationMethod = "not said by the source"


def _code(name: str, number: int) -> str:
    """A code for a class: its name, as far as a code can be it, and its number, which keeps it apart from others."""
    word = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    return f"{word[: SHORT - 1 - len(str(number))]}_{number}"


def _images(sources: Sequence[tuple[Source, int]]) -> tuple[list[Dataset], list[int]]:
    """The headers of the images, and the order of the masks that goes with them."""
    files = {source for source, _ in sources}
    if len(files) == len(sources):
        return [_header(source) for source, _ in sources], list(range(len(sources)))
    if len(files) > 1:
        raise UnreadableImageError("a segmentation is of single images or of one file's frames, not of several files'")
    image = _header(sources[0][0])
    order = np.argsort([frame for _, frame in sources], kind="stable").tolist()
    if [sources[place][1] for place in order] != list(range(int(image.get("NumberOfFrames", 1)))):
        raise UnreadableImageError("a segmentation of a file needs the masks of all its frames")
    return [image], order


def _header(source: Source) -> Dataset:
    """All but the pixels."""
    with _in_words(), _silent(), source.open() as file:
        image = dcmread(file, force=True, stop_before_pixels=True)
    for name in TYPE_2:
        if name not in image:
            setattr(image, name, "")
    # Before DICOM had its types, a time was 12:34:56 and a date 2020.01.31.
    image.StudyTime = str(image.StudyTime).replace(":", "")
    image.StudyDate = str(image.StudyDate).replace(".", "")
    return image


@contextmanager
def _in_words() -> Iterator[None]:
    """What goes wrong in pydicom and highdicom, as a reason: neither promises which errors it raises."""
    try:
        yield
    except UnreadableImageError:
        raise
    except AttributeError as error:
        lacks = re.search(r"attribute '(\w+)'", str(error))
        told = f"an image lacks {lacks[1]}" if lacks else "an image lacks something"
        raise UnreadableImageError(f"{told}, which a DICOM segmentation must repeat") from error
    except OSError:
        raise
    except Exception as error:
        # The first sentence, as what follows explains highdicom's arguments; without values, which can name people.
        told = re.sub(r"""(['"]).*?\1""", "...", " ".join(str(error).split()).split(". ")[0])
        raise UnreadableImageError(f"highdicom can't make a segmentation of these images ({told})") from error


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what highdicom and pydicom remark from the terminal: they repeat names of patients."""
    log = logging.getLogger("highdicom")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
