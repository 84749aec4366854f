"""The images that the user asked to keep: the contact sheet, PCA maps of patch tokens, masks drawn into test images."""

import base64

from medino.core import RunFolder
from medino.tracking.html import join, paragraph, picture
from medino.tracking.report import Section

_BY_DICE = {"worst": "worst", "middle": "middle ones", "best": "best"}

CASES = (
    "Test images by how often they were classified rightly over support draws: the worst in the first row, some in the "
    "middle, the best in the last; above each its class, and what it was taken for."
)


def images_section(run: RunFolder) -> Section | None:
    """The pictures in the run's folder and in those of its segmentations; None where none was asked for."""
    cases = [run.case_sheet] if run.case_sheet.exists() else []
    maps = sorted(run.figures.glob("patch_maps_*.png"))
    overlays = sorted(
        path for folder in (run.path, run.path / "segmentation") for path in folder.rglob("overlay-*.png")
    )
    sheets = [run.contact_sheet] if run.contact_sheet.exists() else []
    if not maps and not overlays and not sheets and not cases:
        return None
    parts = [paragraph("Kept because they were asked for; they show images of the cohort.", "caution")]
    for path in sheets:
        caption = "A random image of each kind that there is; none of which a header says that it may show a name."
        parts.append(picture(base64.b64encode(path.read_bytes()).decode(), caption))
    for path in cases:
        parts.append(picture(base64.b64encode(path.read_bytes()).decode(), CASES))
    for path in maps[-1:]:
        step = int(path.stem.rsplit("_", 1)[1])
        caption = (
            f"Training crops, each beside the first three principal components of its patch tokens (red, green, blue; "
            f"common to all crops) after {step} steps."
        )
        parts.append(picture(base64.b64encode(path.read_bytes()).decode(), caption))
    for path in dict.fromkeys(overlays):
        *_, kind, sample = path.stem.split("-")
        caption = f"Test image {sample[:8]}, one of the {_BY_DICE[kind]} by Dice: its own mask and the predicted one."
        parts.append(picture(base64.b64encode(path.read_bytes()).decode(), caption))
    return Section("Images", join(*parts))
