"""The worst, the middle and the best test images of a few-shot study on one sheet, where images may be shown."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from medino.cli.image_sheet import Place, write_image_sheet
from medino.core import InputError
from medino.data import Manifest
from medino.data.workers import Workers
from medino.probes import extremes
from medino.probes.units import UNIT_COLUMNS
from medino.tracking import headline, outcomes
from medino.tracking.figures.contact_sheet import COLUMNS
from medino.tracking.names import patients_tested, probe_name, shots_name


def write_case_sheet(evidence: pa.Table, manifest: Manifest, path: Path, workers: Workers) -> bool:
    """Draw the test images of the headline's study, one row each of the worst, the middle and the best.

    A unit of several images (a series, a patient) is shown by its first one.

    Args:
        evidence: of the study.
        manifest: whose images were classified.
        path: the PNG file to write.
        workers: who reads the images.

    Returns:
        Whether there was a study of classes to draw from.

    Raises:
        InputError: the manifest does not hold the images of the study.
    """
    row = headline(evidence).after
    found = None if row is None else outcomes(evidence, row)
    if row is None or found is None:
        return False
    rank = np.empty(len(found.units))
    rank[found.order] = np.arange(len(found.units))
    row_of = {unit: place for place, unit in reversed(list(enumerate(manifest.column(UNIT_COLUMNS[row.unit]))))}
    places = []
    for kind, chosen in extremes(rank.tolist(), COLUMNS).items():
        for unit in chosen:
            if found.units[unit] not in row_of:
                raise InputError(
                    f"the manifest {manifest.name} does not hold the images of the study; give the one it was made from"
                )
            right, taken = found.right[unit], found.classes[int(found.shares[unit].argmax())]
            told = [f"is {found.targets[unit]}", f"taken for {taken}"]
            places.append(Place(row_of[found.units[unit]], f"{kind}: {100 * right:.0f} % right", told))
        places += [Place(None, "")] * (COLUMNS - len(chosen))
    title = (
        f"{row.dataset}: worst, middle and best of {len(found.units)} test images of {patients_tested([row])}\n"
        f"{row.backbone}, {probe_name(row.probe)}, {row.shots} {shots_name(row)}; share of right predictions over draws"
    )
    write_image_sheet(manifest, places, path, title, workers)
    return True
