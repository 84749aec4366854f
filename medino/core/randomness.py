"""Randomness has an address: every draw comes from a generator seeded by what it is for, never by rank or worker.

An address is (run seed, purpose, step, position): `purpose` names the draw ("views", "masks", "drop_path", ...), `step`
is the training step, `position` the place in the global batch. A resumed run therefore draws what the uninterrupted
one would have drawn, and two processes draw together what one would.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, purpose: str, *address: int | str) -> int:
    """Hash an address to a 63-bit seed (BLAKE2b), so that neighbouring addresses give unrelated streams."""
    text = "/".join([str(int(seed)), purpose, *map(str, address)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def torch_generator(seed: int, purpose: str, *address: int | str) -> "torch.Generator":
    """A CPU generator for the address. Draw on the CPU and move the result: devices' own streams differ."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, purpose, *address))


def numpy_generator(seed: int, purpose: str, *address: int | str) -> np.random.Generator:
    """A numpy generator for the address; the cheaper one where single numbers are drawn."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, purpose, *address)))
