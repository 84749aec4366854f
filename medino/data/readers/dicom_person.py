"""What a DICOM header says of the person, as far as a manifest may: age and sex, and where the pixels may name them."""

import re
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from medino.data.readers.dicom_values import first_number

if TYPE_CHECKING:
    from medino.data.readers.dicom_header import DicomHeader

OLDEST = 89
"""Ages above it are one group, as a high age can tell who somebody is (45 CFR 164.514(b)(2)(i)(C))."""

_AGE = re.compile(r"([0-9]{1,3})([DWMY])")
_IN_A_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary Capture Image Storage; the multi-frame ones are numbered below it (PS3.4 B.5)."""

_ULTRASOUND = tuple(f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("3", "3.1", "6", "6.1", "6.2", "6.3"))
"""Ultrasound (multi-frame) image storage, with the retired ones (PS3.4 B.5, B.6)."""

_GRAPHICS = 5
_SCALES = (0x0D, 0x0E)
"""Region spatial format `graphics` (PS3.3 C.8.5.5.1.1); region data types of the grey and the colour bar, which have
their numbers written beside them (C.8.5.5.1.2)."""

_MOST_REGIONS = 64


def age(text: str | None) -> str | None:
    """PatientAge (value representation AS, PS3.5 6.2) in whole years, `89+` above 89; None where it is no age.

    Never worked out from a date of birth, which is not read at all.
    """
    found = _AGE.fullmatch(text or "")
    if found is None:
        return None
    years = int(int(found[1]) / _IN_A_YEAR[found[2]])
    return str(years) if years <= OLDEST else f"{OLDEST}+"


def sex(text: str | None) -> str | None:
    """PatientSex, if it is one of the codes F, M and O (PS3.3 C.7.1.1)."""
    return text if text in ("F", "M", "O") else None


def burned_in(header: "DicomHeader") -> str | None:
    """Why text, and with it a name, may be part of the pixels; None where nothing in the header points to it.

    - `annotation`: BurnedInAnnotation is YES (PS3.3 C.7.6.1.1);
    - `secondary capture`: the image is a copy of a screen, a film or a page (PS3.3 A.8);
    - `ultrasound`: the machine writes name and date around the picture, and nothing says that this image goes without:
      its regions (PS3.3 C.8.5.5) leave a part of it out or hold graphics, or there are no regions, and
      BurnedInAnnotation is not NO.
    """
    said = (header.text("BurnedInAnnotation") or "").upper()
    sop_class = header.text("SOPClassUID") or ""
    reasons = {
        "annotation": said == "YES",
        "secondary capture": sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}."),
        "ultrasound": (sop_class in _ULTRASOUND or header.text("Modality") == "US") and _beside_regions(header, said),
    }
    return ", ".join(reason for reason, holds in reasons.items() if holds) or None


def _beside_regions(header: "DicomHeader", said: str) -> bool:
    regions: list[Dataset] = list(header.dataset.get("SequenceOfUltrasoundRegions") or ())[:_MOST_REGIONS]
    if not regions:
        return said != "NO"
    for region in regions:
        if (
            first_number(region, "RegionSpatialFormat") == _GRAPHICS
            or first_number(region, "RegionDataType") in _SCALES
        ):
            return True
    return not _covered(regions, header.whole("Rows", 0), header.whole("Columns", 0))


def _covered(regions: list[Dataset], rows: int, columns: int) -> bool:
    """Whether the regions together leave no pixel of the image out."""
    names = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
    corners = [[first_number(region, name) for name in names] for region in regions]
    boxes = np.array([each for each in corners if None not in each], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += 1  # the corners named last belong to the region (PS3.3 C.8.5.5)
    # Between two neighbouring edges nothing changes, so that one point for each such piece tells all.
    across = np.unique(np.clip([0, columns, *boxes[:, 0], *boxes[:, 2]], 0, columns))[:-1]
    down = np.unique(np.clip([0, rows, *boxes[:, 1], *boxes[:, 3]], 0, rows))[:-1]
    left, top, right, bottom = (boxes[:, side, None, None] for side in range(4))
    x, y = across[None, None, :], down[None, :, None]
    return bool(((left <= x) & (x < right) & (top <= y) & (y < bottom)).any(axis=0).all())


def standard_uid(text: str | None) -> str | None:
    """A UID that the standard registers; None for any other, as its digits can be somebody's."""
    return text if text and UID(text).is_valid and UID(text).name != text else None
