"""Damages good files in every way that has broken a reader before, and counts what a reader makes of them."""

import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

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


@dataclass(frozen=True, slots=True)
class Target:
    """A reader, and good files for it."""

    name: str
    make: Callable[[Path], tuple[Path, ...]]
    """Writes good files into an empty folder and returns those to damage, one at a time."""

    read: Callable[[Path], object]
    """Reads the folder; returns the counts of what it found, or None if it announced that something was left out."""


Verdict = Literal["read", "refused", "out of memory", "wrong count", "foreign error"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reader made of one damaged file."""

    verdict: Verdict
    """`read`: right, or with what was left out counted. `refused`: an error of ours that says where and why."""

    message: str = ""


def cases(target: Target, folder: Path, *, seed: int, count: int) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Each damaged file of a target: what it is, and a function that writes it and has it read."""
    paths = target.make(folder)
    expected = target.read(folder)
    originals = [path.read_bytes() for path in paths]
    for place, (path, original) in enumerate(zip(paths, originals, strict=True)):
        share = count // len(paths) + (place < count % len(paths))
        for i, (kind, damaged) in enumerate(mutated(original, seed=seed + place, count=share)):

            def run(path: Path = path, damaged: bytes = damaged) -> Outcome:
                path.write_bytes(damaged)
                return judge(lambda: target.read(folder), expected)

            yield f"{target.name}, {path.name}, {kind}, seed {seed + place}, case {i}", run
        path.write_bytes(original)


def judge(read: Callable[[], object], expected: object) -> Outcome:
    """Run a reader; where it returns anything but None, that must equal what was expected."""
    try:
        found = read()
    except (InputError, LimitExceeded) as error:
        if not (error.where and error.what):
            return Outcome("foreign error", f"an error without a place: {error}")
        return Outcome("out of memory" if "not enough memory" in error.what else "refused", str(error))
    except Exception as error:
        return Outcome("foreign error", f"{type(error).__name__}: {error}")
    if found is None or expected is None or found == expected:
        return Outcome("read")
    return Outcome("wrong count", f"{found} instead of {expected}")


@dataclass(slots=True)
class Tally:
    """How often each verdict was given, and the cases that must not be."""

    counts: Counter[Verdict] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, label: str, outcome: Outcome) -> None:
        """Count one case."""
        self.counts[outcome.verdict] += 1
        if outcome.verdict not in ("read", "refused"):
            self.failures.append(f"{label}: {outcome.verdict}: {outcome.message}")


def run_target(target: Target, folder: Path, *, seed: int, count: int) -> Tally:
    """Damage each file of a target in turn, read, and count the outcomes."""
    tally = Tally()
    for label, run in cases(target, folder, seed=seed, count=count):
        tally.add(label, run())
    return tally
