"""Free-text tags as words of a list: what a header says of scanner and body part, without what people wrote beside it.

Manufacturer, model and body part are text that anyone can type into, and people type names. What a manifest keeps of
them is therefore never a piece of the file's text but a word of these lists. A scanner that the lists don't know is
`unlisted`.
"""

import re
from functools import lru_cache


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


OTHER = "unlisted"
"""A manufacturer that is none of the list."""

_MANUFACTURERS = {
    r"acuson": "Acuson",
    r"agfa": "Agfa",
    r"aperio": "Aperio",
    r"atl": "ATL",
    r"b-?k ?medical": "BK Medical",
    r"bruker": "Bruker",
    r"canon": "Canon",
    r"care ?stream": "Carestream",
    r"(carl )?zeiss": "Zeiss",
    r"3d ?histech": "3DHISTECH",
    r"(dentsply )?sirona|dentsply": "Dentsply Sirona",
    r"del medical": "Del Medical",
    r"elekta": "Elekta",
    r"elscint": "Elscint",
    r"esaote": "Esaote",
    r"fischer": "Fischer",
    r"fuji": "Fujifilm",
    r"g\.?e\.?([ _-]|$)|general electric": "GE",
    r"hamamatsu": "Hamamatsu",
    r"heidelberg engineering": "Heidelberg Engineering",
    r"hitachi": "Hitachi",
    r"hologic": "Hologic",
    r"idexx": "IDEXX",
    r"imaging dynamics": "Imaging Dynamics",
    r"ims( giotto)?\b|giotto": "IMS Giotto",
    r"instrumentarium": "Instrumentarium",
    r"(eastman )?kodak": "Kodak",
    r"konica|minolta": "Konica Minolta",
    r"leica": "Leica",
    r"lorad": "Lorad",
    r"lumisys": "Lumisys",
    r"marconi": "Marconi",
    r"(shenzhen )?mindray": "Mindray",
    r"neusoft": "Neusoft",
    r"nidek": "Nidek",
    r"olympus": "Olympus",
    r"optos": "Optos",
    r"phantom scanner a": "Phantom Scanner A",
    r"phantom scanner b": "Phantom Scanner B",
    r"philips": "Philips",
    r"picker": "Picker",
    r"planmeca": "Planmeca",
    r"roche|ventana": "Roche",
    r"samsung|medison": "Samsung",
    r"sectra": "Sectra",
    r"shimadzu": "Shimadzu",
    r"siemens": "Siemens",
    r"sono ?site": "SonoSite",
    r"super ?sonic": "SuperSonic Imagine",
    r"swissray": "Swissray",
    r"topcon": "Topcon",
    r"toshiba": "Toshiba",
    r"united ?imaging|shanghai united": "United Imaging",
    r"varian": "Varian",
    r"vatech": "Vatech",
    r"vidar": "Vidar",
    r"xoran": "Xoran",
    r"ziehm": "Ziehm",
}
"""Makers of scanners and of slide scanners by how the tag begins, as found in public collections (TCIA, NEMA,
OpenSlide)."""

_MODELS = _words("""
3DMR ACHIEVA ACUSON ADVANCE AERA AFFINITI ALLURA ALPHENIX ALTAIX AMIRA APERTO APLIO AQUILION ARTIS ASPIRE AVANTO
AXIOM AZURION BIOGRAPH BRAVO BRIGHTSPEED BRILLIANCE CIOS CLARITY CONFIDENCE COMPASS CT DEFINIUM DEFINITION
DIGITALDIAGNOST DIMENSIONS DISCOVERY DRIVE DUAL DUO ECHELON EDGE EMOTION ENCORE EPIQ ESPREE ESSENTIAL EXCITE EXPERT
FLASH FLUOROSPOT FORCE FUSION GEMINI GENESIS GRAND HARMONY HD HDX HDXT HISPEED HORIZON ICT INFINIA INFINITY INGENIA
INGENUITY INNOVA INSPIRATION INTERA LIGHTNING LIGHTSPEED LOGIQ LUMINOS LX MAGNETOM MAGNUM MAMMOMAT MARCONI
MILLENNIUM MOBILETT MOBILEDIART MRT MULTIDIAGNOST MX NAEOTOM NOVA OASIS ONE OPEN OPERA OPTIMA ORIAN PANORAMA
PERFORMED PERSPECTIVE PLATINUM PLUS POWER PRECEDENCE PREMIER PRIME PRISM PRISMA PRISTINA PRO PROSPEED QUANTUM
REVOLUTION RXI SCENARIA SELENIA SENOGRAPHE SENSATION SEQUOIA SIGNA SKYRA SOLA SOMATOM SPECTRA SPECTRAL SPIRIT SPREE
SUPRIA SYMPHONY SYNERGY TITAN TRIO TRUEBEAM UMR UCT ULTIMA VANTAGE VARIO VERIO VIDA VIVID VOLUME VOLUSON XPERT
XPRESS XR YSIO ZOOM
""")
"""Families of scanners, as their makers write them."""

_SCANNER_CODE = re.compile(r"[A-Z]{0,3}-?[0-9]{1,4}[A-Z]{0,2}\+?|AS\+?|VCT|GX")
"""What stands beside a family: the number of rows, field strength, type. Taken only beside a word of `_MODELS`."""

BODY_PARTS = _words("""
ABDOMEN ABDOMENPELVIS ADRENAL ANKLE ANUS AORTA APPENDIX ARM ARTERY AXILLA BACK BILEDUCT BLADDER BONE BRAIN BREAST
BRONCHUS BUTTOCK CALCANEUS CALF CAROTID CEREBELLUM CERVIX CHEEK CHEST CHESTABDOMEN CHESTABDPELVIS CHESTABDPELV
CLAVICLE COCCYX COLON CORNEA CORONARYARTERY CSPINE CTSPINE DUODENUM EAR ELBOW ESOPHAGUS EXTREMITY EYE EYELID FACE
FEMUR FINGER FOOT FOREARM GALLBLADDER GENITALIA HAND HEAD HEADNECK HEART HIP HUMERUS ILEUM ILIUM IAC JAW JEJUNUM
JOINT KIDNEY KNEE LARYNX LEFT LEG LIVER LOWERLIMB LSPINE LSSPINE LUNG MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST
NECKCHESTABDOMEN NECKCHESTABDPELV NOSE ORBIT OVARY PANCREAS PAROTID PATELLA PELVIS PELVISLOWEXTREMITY PENIS PHARYNX
PROSTATE RECTUM RETINA RIB RIGHT SACRUM SCALP SCAPULA SCLERA SCROTUM SHOULDER SINUS SKIN SKULL SPINE SPLEEN SSPINE
STERNUM STOMACH SUBMANDIBULAR TAIL TESTIS THIGH THORAX THUMB THYMUS THYROID TLSPINE TMJ TOE TONGUE TOOTH TRACHEA
TSPINE UPPERLIMB URETER URETHRA UTERUS VAGINA VULVA WHOLEBODY WRIST ZYGOMA SSJOINT
""")
"""Terms for the body part examined (PS3.16 Annex L), and those that scanners write in their place."""

MODALITIES = _words("""
ANN AR ASMT AU BDUS BI BMD CD CFM CR CS CT CTPROTOCOL DD DF DG DM DMS DS DX EC ECG EEG EMG EOG EPS ES FA FID FS GM
HC HD IO IOL IVOCT IVUS KER KO LEN LP LS M3D MA MG MR MS NM OAM OCT OP OPM OPR OPT OPTBSV OPTENF OPV OSS OT PA PLAN
POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF ST
STAIN TEXTUREMAP TG US VA VF XA XAPROTOCOL XC
""")
"""Defined terms for the modality, retired ones among them (PS3.3 C.7.3.1.1.1)."""

_MOST_TEXTS = 256
"""Texts whose words are remembered: an archive says the same few over and over."""


@lru_cache(maxsize=_MOST_TEXTS)
def manufacturer(text: str | None) -> str | None:
    """The maker of a scanner by its usual name, `OTHER` where it is none of the list, None where nothing is said."""
    if text is None:
        return None
    written = text.strip().lower()
    return next((name for start, name in _MANUFACTURERS.items() if re.match(start, written)), OTHER)


@lru_cache(maxsize=_MOST_TEXTS)
def scanner_model(text: str | None) -> str | None:
    """The known families in a model's name, with the codes beside them; None where there is no known family."""
    words = re.findall(r"[A-Z0-9+-]+", (text or "").upper())
    known = [word for word in words if word in _MODELS or _SCANNER_CODE.fullmatch(word)]
    return " ".join(known) if any(word in _MODELS for word in known) else None


@lru_cache(maxsize=_MOST_TEXTS)
def body_part(text: str | None) -> str | None:
    """The terms for parts of the body in a text, the others left out; None where there are none."""
    words = re.findall(r"[A-Z]+", (text or "").upper())
    whole = "".join(words)
    if whole in BODY_PARTS:
        return whole
    return " ".join(dict.fromkeys(word for word in words if word in BODY_PARTS)) or None


def modality(text: str | None) -> str | None:
    """A modality of the standard; None for anything else."""
    return text if text in MODALITIES else None
