"""Owns reading the registry of public data sets: where they come from, how they are split, what others published."""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from scene3d.errors import InputError
from scene3d.io.opening import read_file_bytes
from scene3d.limits import MAX_SETTINGS_BYTES

REGISTRY_SCHEMA_VERSION = 1
REGISTRY_NAME = "registry.toml"
PROTOCOLS = ("raw", "corrected")
PREPARED_NAME = "dataset.json"
"""What `datasets/prepare.py convert` leaves in a capture: which data set it is, and the size of its photographs."""

_CHOICES = {"protocol": PROTOCOLS, "split": ("parts", "every-8"), "lpips_net": ("alex", "vgg")}
_NUMBERS = {"psnr_db": 100.0, "ssim": 1.0, "lpips": 1.0, "image_scale": 1.0}
"""They lie above 0 and up to this."""

_COUNTS = ("num_images", "num_train", "num_test", "size_bytes")
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """What one method reached, as its source states it."""

    method: str
    protocol: Literal["raw", "corrected"]
    """`corrected`: the colours of each held-out view were fitted to its photograph before measuring."""

    psnr_db: float
    source: str
    """Keys of `Registry.sources`, separated by commas."""

    ssim: float | None = None
    lpips: float | None = None
    image_scale: float | None = None
    """Only where it is not that of the data set."""

    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One file that can be fetched and checked."""

    url: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One public scene, with everything its collection says about it."""

    name: str
    title: str
    collection: str
    home_page: str
    licence: str
    obtain: str
    """How to get a local copy."""

    layouts: tuple[str, ...]
    """Forms of a local copy that `datasets/prepare.py` recognises, the best first."""

    split: Literal["parts", "every-8"]
    """`parts`: training and held-out photographs are apart; `every-8`: views 0, 8, 16, ... by name are held out."""

    image_scale: float
    """Share of the original photographs' size in the published protocol."""

    lpips_net: Literal["alex", "vgg"]
    lpips_input: str
    """Range of the images that the network of the published figures was given."""

    published: tuple[PublishedRow, ...]
    num_images: int | None = None
    num_train: int | None = None
    num_test: int | None = None
    size: str = ""
    note: str = ""
    downloads: tuple[Download, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Scenes that are published together, and the means over all of them."""

    name: str
    title: str
    datasets: tuple[str, ...]
    published: tuple[PublishedRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Every public data set that is known."""

    sources: Mapping[str, str]
    datasets: Mapping[str, Dataset]
    collections: Mapping[str, Collection]

    def find(self, name: str) -> Dataset:
        """The data set of that name.

        Raises:
            InputError: There is none; the message names the closest, or all.
        """
        if name not in self.datasets:
            close = difflib.get_close_matches(name, self.datasets, n=1)
            remedy = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(self.datasets)}"
            raise InputError(f"there is no data set '{name}' in the registry", remedy=remedy)
        return self.datasets[name]


def read_registry(path: Path | None = None) -> Registry:
    """The registry of the installed program, or of the repository it runs from.

    Raises:
        InputError: It is missing or not well formed.
    """
    path = path or find_registry()
    try:
        record = tomllib.loads(read_file_bytes(path, max_bytes=MAX_SETTINGS_BYTES).decode("utf-8"))
    except ValueError as error:  # wrong TOML and wrong UTF-8 are both ValueErrors
        raise InputError(f"is not readable as TOML ({error})", where=path, remedy="restore it from git") from error
    if record.get("schema_version") != REGISTRY_SCHEMA_VERSION:
        what = f"has layout {record.get('schema_version')}; this program reads {REGISTRY_SCHEMA_VERSION}"
        raise InputError(what, where=path, remedy="use the registry of this version")
    return _registry_of(record, path)


def find_registry() -> Path:
    """Where the registry lies: beside this module in an installed program, else in the repository's `datasets/`.

    Raises:
        InputError: It is in neither place.
    """
    here = Path(__file__).resolve()
    places = (here.with_name(REGISTRY_NAME), here.parents[2] / "datasets" / REGISTRY_NAME)
    for place in places:
        if place.is_file():
            return place
    looked = " or ".join(str(place) for place in places)
    raise InputError(f"the registry of data sets is neither of {looked}", remedy="install scene3d again")


def read_photo_scale(capture: Path) -> float:
    """Share of the original size at which a converted capture holds its photographs; 1 where nothing says so.

    Raises:
        InputError: The record cannot be read.
    """
    path = capture / PREPARED_NAME
    if not path.is_file():
        return 1.0
    try:
        scale = float(json.loads(read_file_bytes(path, max_bytes=MAX_SETTINGS_BYTES))["photo_scale"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"is damaged ({error})", where=path, remedy="convert the data set again") from error
    if not 0 < scale <= 1:
        raise InputError(f"photo_scale is {scale}", where=path, remedy="convert the data set again")
    return scale


def _registry_of(record: Mapping[str, Any], path: Path) -> Registry:
    sources, collections = dict(record.get("sources", {})), dict(record.get("collections", {}))
    datasets = {name: _dataset_of(name, one, collections, path) for name, one in record.get("datasets", {}).items()}
    members = {key: tuple(each.name for each in datasets.values() if each.collection == key) for key in collections}
    groups = {
        key: Collection(
            name=key,
            title=one.get("title", key),
            datasets=members[key],
            published=_rows_of(one.get("published", ()), f"{path}, collections.{key}"),
        )
        for key, one in collections.items()
    }
    everything: list[Dataset | Collection] = [*datasets.values(), *groups.values()]
    for owner in everything:
        for row in owner.published:
            unknown = [source for source in row.source.split(", ") if source not in sources]
            if unknown:
                what = f"{row.method} names the source {unknown[0]!r}, which [sources] does not explain"
                raise InputError(what, where=f"{path}, {owner.name}", remedy="add it there")
    return Registry(sources=sources, datasets=datasets, collections=groups)


def _dataset_of(name: str, own: Mapping[str, Any], collections: Mapping[str, Any], path: Path) -> Dataset:
    where = f"{path}, datasets.{name}"
    if own.get("collection") not in collections:
        what = f"its collection {own.get('collection')!r} is not one of [collections]"
        raise InputError(what, where=where, remedy="add the collection")
    inherited = {key: value for key, value in collections[own["collection"]].items() if key != "published"}
    merged = {**inherited, **own, "name": name, "layouts": tuple(own.get("layouts", inherited.get("layouts", ())))}
    merged["published"] = _rows_of(own.get("published", ()), where)
    merged["downloads"] = tuple(_make(Download, each, where) for each in own.get("downloads", ()))
    return _make(Dataset, merged, where)


def _rows_of(records: Sequence[Mapping[str, Any]], where: str) -> tuple[PublishedRow, ...]:
    return tuple(_make(PublishedRow, record, f"{where}, published {i}") for i, record in enumerate(records))


def _make(kind: type[Record], record: Mapping[str, Any], where: str) -> Record:
    """A record of a table, with nothing unknown and nothing missing in it."""
    known = {part.name: part for part in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(record) - set(known))
    missing = [name for name, part in known.items() if part.default is MISSING and name not in record]
    if unknown or missing:
        what = f"unknown field '{unknown[0]}'" if unknown else f"no field '{missing[0]}'"
        raise InputError(what, where=where, remedy=f"its fields are {', '.join(known)}")
    for name, value in record.items():
        problem = _find_problem(name, value)
        if problem:
            raise InputError(f"{name} is {value!r}; it must be {problem}", where=where, remedy="correct the registry")
    return kind(**record)


def _find_problem(name: str, value: object) -> str | None:
    """What a value must be instead; None if it is all right."""
    if name in _CHOICES:
        return None if value in _CHOICES[name] else " or ".join(_CHOICES[name])
    if name in _NUMBERS:
        fits = isinstance(value, float) and 0 < value <= _NUMBERS[name]  # NaN fails this too
        return None if fits else f"a decimal number above 0 and up to {_NUMBERS[name]:g}"
    if name in _COUNTS:
        return None if type(value) is int and value > 0 else "a whole number above 0"
    if isinstance(value, tuple):
        return None if value or name in ("published", "downloads") else "a list of at least one"
    return None if isinstance(value, str) else "text"
