"""Owns the making of random generators: one seed, named streams, the same bytes every time."""

import hashlib

import numpy as np
import torch


def make_generator(seed: int, stream: str = "") -> torch.Generator:
    """A torch generator for one named purpose, so that adding a purpose does not disturb the others."""
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def make_numpy_generator(seed: int, stream: str = "") -> np.random.Generator:
    """A numpy generator for one named purpose."""
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
