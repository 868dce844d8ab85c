"""Damages good files in every way that has broken a reader before, and counts what a reader makes of them."""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scene3d.errors import InputError, LimitExceeded

LIES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
"""Numbers that have fooled readers when they stood for a count, a size or an index."""

NUMBERS_IN_TEXT = (b"-1", b"0", b"1e999", b"nan", b"inf", b"99999999999999999999", b"1_0", b"0x10", b"1,5", b"", b"-0")
_BAD_FLOATS = (float("nan"), float("inf"), -float("inf"), 1e308, -0.0, 5e-324)
_DIGITS = re.compile(rb"\d+")


def truncate(content: bytearray, generator: np.random.Generator) -> bytearray:
    """Cuts the end off."""
    return content[: generator.integers(0, max(1, len(content)))]


def extend(content: bytearray, generator: np.random.Generator) -> bytearray:
    """Adds bytes behind the end."""
    return content + generator.bytes(int(generator.integers(1, 40)))


def flip_bits(content: bytearray, generator: np.random.Generator) -> bytearray:
    """Flips one to eight bits anywhere."""
    for _ in range(int(generator.integers(1, 9))):
        content[generator.integers(len(content))] ^= 1 << int(generator.integers(8))
    return content


def flip_early_bits(content: bytearray, generator: np.random.Generator) -> bytearray:
    """Flips bits where headers and counts stand."""
    for _ in range(int(generator.integers(1, 4))):
        content[generator.integers(min(len(content), 200))] ^= 1 << int(generator.integers(8))
    return content


def lie(content: bytearray, generator: np.random.Generator) -> bytearray:
    """Writes an extreme whole number over 1, 2, 4 or 8 bytes, often near the beginning."""
    size = int(generator.choice([1, 2, 4, 8]))
    span = min(len(content), 120) if generator.random() < 0.5 else len(content)
    place = int(generator.integers(max(1, span - size)))
    order = "little" if generator.random() < 0.8 else "big"
    number = LIES[int(generator.integers(len(LIES)))] % (1 << (8 * size))
    content[place : place + size] = number.to_bytes(size, order)
    return content


def poison_floats(content: bytearray, generator: np.random.Generator) -> bytearray:
    """Writes NaN, infinity and other odd floats over a few places."""
    for _ in range(int(generator.integers(1, 5))):
        value = _BAD_FLOATS[int(generator.integers(len(_BAD_FLOATS)))]
        narrow = generator.random() < 0.5
        with np.errstate(over="ignore"):
            packed = np.float32(value).tobytes() if narrow else struct.pack("<d", value)
        place = int(generator.integers(max(1, len(content) - len(packed))))
        content[place : place + len(packed)] = packed
    return content


def swap_bytes(content: bytearray, generator: np.random.Generator) -> bytearray:
    """Turns groups of 2, 4 or 8 bytes round from some place on, as if the other byte order had been used."""
    size = int(generator.choice([2, 4, 8]))
    start = int(generator.integers(len(content)))
    whole = (len(content) - start) // size * size
    groups = np.frombuffer(bytes(content[start : start + whole]), np.uint8).reshape(-1, size)
    content[start : start + whole] = groups[:, ::-1].tobytes()
    return content


def delete_block(content: bytearray, generator: np.random.Generator) -> bytearray:
    """Removes some bytes from the middle."""
    start = int(generator.integers(len(content)))
    del content[start : start + int(generator.integers(1, 64))]
    return content


def repeat_block(content: bytearray, generator: np.random.Generator) -> bytearray:
    """Says some bytes twice."""
    start = int(generator.integers(len(content)))
    block = content[start : start + int(generator.integers(1, 64))]
    return content[:start] + block + content[start:]


def blank_block(content: bytearray, generator: np.random.Generator) -> bytearray:
    """Fills a block with one byte, as a disk with lost sectors does."""
    start = int(generator.integers(len(content)))
    length = len(content[start : start + int(generator.integers(1, 600))])
    content[start : start + length] = bytes([int(generator.choice([0, 255, 32, 10]))]) * length
    return content


def change_written_number(content: bytearray, generator: np.random.Generator) -> bytearray:
    """Replaces a number written in digits, in a header or a text."""
    places = list(_DIGITS.finditer(bytes(content[:20_000])))
    if not places:
        return lie(content, generator)
    place = places[int(generator.integers(len(places)))]
    number = NUMBERS_IN_TEXT[int(generator.integers(len(NUMBERS_IN_TEXT)))]
    if generator.random() < 0.3:
        number = str(int(place[0][:18]) + int(generator.choice([-1, 1]))).encode()
    return content[: place.start()] + number + content[place.end() :]


MUTATIONS = (
    truncate,
    extend,
    flip_bits,
    flip_early_bits,
    lie,
    poison_floats,
    swap_bytes,
    delete_block,
    repeat_block,
    blank_block,
    change_written_number,
)


def mutated(content: bytes, *, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Damaged copies of a file and how each came about; the same for the same seed."""
    generator = np.random.default_rng(seed)
    for i in range(count):
        mutation = MUTATIONS[i % len(MUTATIONS)]
        result = bytes(mutation(bytearray(content), generator)) if content else generator.bytes(8)
        yield mutation.__name__, result


@dataclass(slots=True)
class Tally:
    """What a reader made of damaged files."""

    num_read: int = 0
    """Read without complaint, or with what was left out counted."""

    num_refused: int = 0
    """Ended in InputError or LimitExceeded that says where and why."""

    wrong_counts: list[str] = field(default_factory=list)
    """Read as if whole, with another number of things in it."""

    foreign: list[str] = field(default_factory=list)
    """Ended in any other exception, or in an error without a place."""

    @property
    def total(self) -> int:
        """All files tried."""
        return self.num_read + self.num_refused + len(self.wrong_counts) + len(self.foreign)

    def try_reader(self, label: str, read: Callable[[], object], expected: object) -> None:
        """Count one attempt; `read` returns what must be equal to `expected`, or None if it said what it left out."""
        try:
            found = read()
        except (InputError, LimitExceeded) as error:
            if error.where and error.what:
                self.num_refused += 1
            else:
                self.foreign.append(f"{label}: an error without a place: {error}")
        except Exception as error:
            self.foreign.append(f"{label}: {type(error).__name__}: {error}")
        else:
            if found is None or expected is None or found == expected:
                self.num_read += 1
            else:
                self.wrong_counts.append(f"{label}: {found} instead of {expected}")


@dataclass(frozen=True, slots=True)
class Target:
    """A reader, and good files for it."""

    name: str
    make: Callable[[Path], tuple[Path, ...]]
    """Writes good files into an empty folder and returns those to damage, one at a time."""

    read: Callable[[Path], object]
    """Reads the folder; returns the counts of what it found, or None if it announced that something was left out."""


def run_target(target: Target, folder: Path, *, seed: int, count: int) -> Tally:
    """Damage each file of a target in turn, read, and count the outcomes."""
    paths = target.make(folder)
    expected = target.read(folder)
    tally = Tally()
    originals = [path.read_bytes() for path in paths]
    for place, (path, original) in enumerate(zip(paths, originals, strict=True)):
        share = count // len(paths) + (place < count % len(paths))
        for i, (kind, damaged) in enumerate(mutated(original, seed=seed + place, count=share)):
            path.write_bytes(damaged)
            label = f"{target.name}, {path.name}, {kind}, seed {seed + place}, case {i}"
            # The file's own bytes read right must count as right, however they came about.
            tally.try_reader(label, lambda: target.read(folder), expected)
        path.write_bytes(original)
    return tally
