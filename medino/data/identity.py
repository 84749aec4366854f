"""Who an image belongs to, without saying who: keyed hashes, and where the key lies.

A hash without a key can be undone by trying all hospital numbers; with the key it can't, and equal numbers still give
equal hashes. The key stays with the hospital: whoever has key and manifest can test a guess.
"""

import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Literal

from medino.core import InputError, existing_file

KEY_BYTES = 32

Kind = Literal["patient", "study", "series", "image", "file", "sample", "key"]
"""What is hashed. Each kind has hashes of its own, so that a study's number never equals a patient's."""

_PLACEHOLDER = re.compile(
    r"[\W0_x]*|(anon|anonymous|anonymi[sz]ed|de-?identified|n\.?/?a\.?|none|null|unknown|undefined|no|test)"
    r"[\W_]*(patient|id|name)?[\W_]*",
    re.IGNORECASE,
)


def is_placeholder(patient_id: str) -> bool:
    """Whether a PatientID says nothing: blank, zeros, ANONYMOUS, NA and the like."""
    return _PLACEHOLDER.fullmatch(clean(patient_id)) is not None


def clean(raw: object) -> str:
    """An identifier as text without the padding that DICOM and spreadsheets put around it; letters' case is kept."""
    return "" if raw is None else str(raw).replace("\0", "").strip()


class IdentityKey:
    """Hashes identifiers with a secret.

    Args:
        secret: at most 64 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def hash(self, kind: Kind, raw: str) -> str:
        """The hash of an identifier: BLAKE2b-128 keyed, of kind and identifier, as 32 hexadecimal digits."""
        return hashlib.blake2b(f"{kind}:{raw}".encode(), key=self._secret, digest_size=16).hexdigest()

    @property
    def key_id(self) -> str:
        """Names the key without telling it: only manifests with equal key ids have comparable patients."""
        return self.hash("key", "")

    @classmethod
    def draw(cls) -> "IdentityKey":
        """A new random key that is kept nowhere."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def read(cls, path: str | Path) -> "IdentityKey":
        """Read a key file.

        Raises:
            InputError: it is missing, can't be read, or holds no key.
        """
        try:
            text = existing_file(path, "key file").read_text(encoding="ascii").strip()
        except UnicodeDecodeError:
            text = ""
        except OSError as error:
            raise InputError(f"the key file {path} can't be read ({error.strerror}); give another by --key") from error
        if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * KEY_BYTES}}}", text):
            raise InputError(
                f"{path} holds no key of {2 * KEY_BYTES} hexadecimal digits; give the file that medino made, "
                "or a name that is free"
            )
        return cls(bytes.fromhex(text))

    def keep(self, path: str | Path) -> None:
        """Write the key to a new file that its owner alone can read.

        Raises:
            InputError: the file is there already, or can't be made.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise InputError(f"the key file {path} can't be made ({error.strerror}); give another by --key") from error
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(self._secret.hex() + "\n")
