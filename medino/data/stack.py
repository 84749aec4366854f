"""What can part the volumes of one series (an echo, a b-value, a phase), as a text of numbers and defined terms.

A reader writes down all that a header says; which of it truly parts slices that lie at one place is found out where
slices become volumes (`medino.data.volumes`): in some series every slice has an acquisition number of its own.
"""

from collections.abc import Mapping

PARTS = (
    "echo",
    "echo time",
    "inversion time",
    "b",
    "direction",
    "temporal position",
    "cardiac phase",
    "contrast",
    "type",
    "kV",
    "trigger time",
    "stack",
    "acquisition",
)
"""What can part volumes, the most telling first. Times are in ms, b in s/mm2, the cardiac phase in percent."""

ORDERED = ("temporal position", "cardiac phase", "trigger time", "acquisition")
"""Parts that grow with time: where their values differ from place to place, the n-th of one place goes with the n-th of
another."""

_COMMON_TERMS = """
ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MIXED MOSAIC MPR MIP MINIP AVERAGE MEAN MAX MIN SUM REFORMATTED
RESAMPLED MAGNITUDE PHASE REAL IMAGINARY M P R I M_FFE M_SE M_IR M_TSE M_GR PHASE_MAP PHASE_CONTRAST VELOCITY
VELOCITY_MAP DIFFUSION DIFFUSION_ANISO ADC ADC_MAP TRACEW TRACE FA EXP ISOTROPIC ANISOTROPIC WATER FAT IN_PHASE
OPPOSED_PHASE OUT_PHASE W F IP OP SUBTRACTION SUB PERFUSION CBF CBV MTT TTP TMAX T1 T2 T2_STAR T1_MAP T2_MAP
PROTON_DENSITY FLAIR STIR METABOLITE_MAP FLOW_ENCODED TOF CINE PRE_CONTRAST POST_CONTRAST IMMEDIATE DYNAMIC STEADY_STATE
ATTENUATION MONOENERGETIC ENERGY_PROP_WT VIRTUAL_NON_CONTRAST IODINE EMISSION TRANSMISSION STATIC GATED WHOLE_BODY RECON
TOMO
"""

TERMS = frozenset(_COMMON_TERMS.split())
"""Values of ImageType, FrameType, ComplexImageComponent and ContrastBolusAgentPhase that are kept: common terms of the
standard and of makers (PS3.3 C.7.6.1.1.2, C.8.13.1.1, C.8.13.3.1.1). Anything else could be somebody's own words."""


def stack_text(known: Mapping[str, object]) -> str | None:
    """The text for what a header says.

    Args:
        known: values by the names in `PARTS`; None and what has no such name is left out.

    Returns:
        For instance "echo 2; b 1000"; None where nothing is known.
    """
    parts = [f"{name} {_plain(known[name])}" for name in PARTS if known.get(name) is not None]
    return "; ".join(parts) or None


def stack_parts(text: str | None) -> dict[str, str]:
    """What a stack's text says: values by the names in `PARTS`; a text of another kind is a "stack"."""
    found = {}
    for part in (text or "").split("; "):
        names = [name for name in PARTS if part.startswith(f"{name} ")]
        name = max(names, key=len, default="")
        if name:
            found[name] = part[len(name) + 1 :]
        elif part:
            found["stack"] = part
    return found


def _plain(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
