"""What is written down of a published backbone."""

import os
from dataclasses import dataclass
from typing import Literal

from medino.models.config import BackboneConfig
from medino.models.layouts import Interpolation

HUB = "https://huggingface.co"
"""Where hub files come from, unless `HF_ENDPOINT` names a mirror, as for Hugging Face's own tools."""


@dataclass(frozen=True)
class KnownFile:
    """One published file.

    Attributes:
        name: what it is called where it lies.
        url: its address; None for a file of the hub.
        repository: of the hub, "owner/name"; None elsewhere.
        revision: commit or branch of that repository.
        size: bytes, where they are known.
        sha256: hexadecimal, where it is public; never guessed.
    """

    name: str
    url: str | None = None
    repository: str | None = None
    revision: str = "main"
    size: int | None = None
    sha256: str | None = None

    @property
    def address(self) -> str:
        """Where it is downloaded from."""
        if self.url is not None:
            return self.url
        hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
        return f"{hub}/{self.repository}/resolve/{self.revision}/{self.name}"


@dataclass(frozen=True)
class KnownWeights:
    """A published backbone.

    Attributes:
        config: its settings: size, patch, mean and standard deviation that it expects; its `name` is the entry's.
        title: what its makers call it, and the paper.
        images: what it was trained on.
        file: the backbone's file.
        interpolation: the way to resize the position embedding that goes with the file.
        licence: its name, as its makers give it.
        derivatives: whether adapted weights may be passed on by this licence: "yes", "no", or "ask" where the licence
            has terms that a yes or no would hide.
        terms: more on the licence, in words.
        page: where the licence, the model's description and access are.
        gated: how to ask for access; None where anybody may download.
        heads: the projection heads that were published with it.
    """

    config: BackboneConfig
    title: str
    images: str
    file: KnownFile
    interpolation: Interpolation
    licence: str
    derivatives: Literal["yes", "no", "ask"]
    terms: str
    page: str
    gated: str | None = None
    heads: KnownFile | None = None

    @property
    def name(self) -> str:
        """The name that `--weights` takes."""
        return self.config.name
