"""A published file on this machine: where to download it from, and whether it is what it should be."""

import os
from pathlib import Path

from medino.cli.downloading import MB, Source
from medino.core import ProgressBar, file_sha256
from medino.models import KNOWN_WEIGHTS, KnownFile, KnownWeights
from medino.models.weights_folder import record_sha256, recorded_sha256


def source_of(known: KnownWeights, file: KnownFile, path: Path) -> Source:
    """What to download for a file of the list.

    Args:
        known: whose.
        file: which.
        path: where it is to lie; the sum of an earlier download there is expected again where the list has none.
    """
    refused = "check that it is public"
    if file.repository is not None:
        how = known.gated or f"log in at {known.page}"
        refused = f"{how}, then give your token by HF_TOKEN, or put it where `hf auth login` does"
    return Source(
        url=file.address,
        name=known.name,
        size=file.size,
        sha256=file.sha256 or recorded_sha256(path),
        token=None if file.repository is None else hub_token(),
        refused=refused,
        gated=known.gated,
    )


def hub_token() -> str | None:
    """The user's token for Hugging Face's hub, from where its own tools take it: HF_TOKEN, or the file they write."""
    if token := os.environ.get("HF_TOKEN", "").strip():
        return token
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or cache / "huggingface")
    path = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def compared(path: Path, file: KnownFile, sha256: str | None = None) -> tuple[bool, str]:
    """Whether a file of the list is what it should be, and the comparison in words.

    What the list has no sum for is compared with what was noted when the file came; where nothing was, it is noted now.

    Args:
        path: where it lies.
        file: what it should be.
        sha256: of the file, where it was just computed.
    """
    found = sha256 or sha256_of(path)
    expected, whose = file.sha256, "the list"
    if expected is None:
        expected, whose = recorded_sha256(path), "what was noted when it came (the list has no sum)"
    if expected is None:
        record_sha256(path, found)
        return True, f"SHA-256 {found}: noted for later; the list has none to compare with"
    return _words(found, expected, whose)


def identified(path: Path) -> tuple[bool, str]:
    """Whether any file is one of the list, or what was noted beside it, and the answer in words."""
    found = sha256_of(path)
    for known in KNOWN_WEIGHTS.values():
        for file in filter(None, (known.file, known.heads)):
            if file.sha256 == found:
                return True, f"SHA-256 {found}: is '{known.name}', {file.name}"
    if (noted := recorded_sha256(path)) is not None:
        return _words(found, noted, "what was noted beside it")
    return False, f"SHA-256 {found}: no file of the list has it, and none was noted beside it; ask where it comes from"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, with progress where it takes long."""
    with ProgressBar(f"checking {path.name} (MB)", path.stat().st_size // MB) as bar:
        return file_sha256(path, lambda done: bar.update(done // MB))


def _words(found: str, expected: str, whose: str) -> tuple[bool, str]:
    if found == expected:
        return True, f"SHA-256 {found}: fits {whose}"
    return False, f"SHA-256 {found} does not fit {whose}, {expected}: it is damaged or another file; get it again"
