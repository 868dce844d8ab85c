"""Owns which captures a benchmark run is about, and the protocol each is measured under."""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from scene3d.data.registry import Dataset, Registry, read_photo_scale
from scene3d.errors import InputError, SettingsError

LpipsNet = Literal["alex", "vgg"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is reconstructed, and under which protocol it is measured."""

    name: str
    title: str
    capture: Path
    dataset: Dataset | None
    photo_scale: float
    """Share of the original size at which the capture holds its photographs."""

    image_scale: float
    """Share of the original size that is trained on and measured at."""

    lpips_net: LpipsNet

    @property
    def reading_scale(self) -> float:
        """What the trainer has to shrink the capture's photographs by."""
        return min(1.0, self.image_scale / self.photo_scale)

    def protocol(self) -> dict[str, Any]:
        """The protocol as a record."""
        return {"image_scale": self.image_scale, "lpips_net": self.lpips_net, "photo_scale": self.photo_scale}


def find_targets(
    names: Sequence[str],
    registry: Registry,
    *,
    data: Path | None,
    image_scale: float | None = None,
    lpips_net: LpipsNet | None = None,
) -> list[Target]:
    """The captures behind names of data sets, names of collections, and folders.

    Args:
        data: Folder of the local copies, each under its data set's name; the variable SCENE3D_DATA if not given.
        image_scale: Instead of the registry's.
        lpips_net: Instead of the registry's.

    Raises:
        SettingsError: No folder of data sets is given, two captures have one name, or the scale cannot be had.
        InputError: A name is neither, or a local copy is not there.
    """
    targets = []
    for name in names:
        if name in registry.collections or name in registry.datasets:
            members = registry.collections[name].datasets if name in registry.collections else (name,)
            datasets = [registry.datasets[member] for member in members]
        elif Path(name).is_dir():
            targets.append(_target_of_folder(Path(name), image_scale, lpips_net))
            continue
        else:
            raise _unknown(name, registry)
        targets += [_target_of_dataset(dataset, _find_root(data), image_scale, lpips_net) for dataset in datasets]
    for place, target in enumerate(targets):
        if any(target.name == other.name for other in targets[:place]):
            raise SettingsError(f"two captures are called '{target.name}'", remedy="name each once")
    return targets


def published_record(target: Target) -> Mapping[str, Any] | None:
    """What others published on a data set, and under which protocol; None for a person's own capture."""
    dataset = target.dataset
    if dataset is None:
        return None
    keys = ("image_scale", "lpips_net", "lpips_input", "split", "num_test")
    return {**{key: getattr(dataset, key) for key in keys}, "rows": [asdict(row) for row in dataset.published]}


def _find_root(data: Path | None) -> Path:
    chosen = data or os.environ.get("SCENE3D_DATA")
    if not chosen:
        raise SettingsError("no folder of data sets is given", remedy="use --data DIR, or set SCENE3D_DATA")
    return Path(chosen).expanduser()


def _target_of_dataset(dataset: Dataset, root: Path, image_scale: float | None, lpips_net: LpipsNet | None) -> Target:
    folder = root / dataset.name
    if not folder.is_dir():
        remedy = f"python datasets/prepare.py convert {dataset.name} FOLDER --output {folder}; see {dataset.home_page}"
        raise InputError(f"the local copy of {dataset.title} is not here", where=folder, remedy=remedy)
    return _make_target(folder, dataset.name, dataset, image_scale or dataset.image_scale, lpips_net)


def _target_of_folder(folder: Path, image_scale: float | None, lpips_net: LpipsNet | None) -> Target:
    return _make_target(folder, folder.resolve().name, None, image_scale or 1.0, lpips_net)


def _make_target(
    folder: Path, name: str, dataset: Dataset | None, image_scale: float, lpips_net: LpipsNet | None
) -> Target:
    photo_scale = read_photo_scale(folder) if dataset else 1.0
    if image_scale > photo_scale * 1.001:
        what = f"--image-scale is {image_scale:g}, but the photographs are there at {photo_scale:g} of their size"
        raise SettingsError(what, where=folder, remedy="convert the data set without the shrunk folder")
    return Target(
        name=name,
        title=dataset.title if dataset else name,
        capture=folder,
        dataset=dataset,
        photo_scale=photo_scale,
        image_scale=image_scale,
        lpips_net=lpips_net or (dataset.lpips_net if dataset else "alex"),
    )


def _unknown(name: str, registry: Registry) -> InputError:
    close = difflib.get_close_matches(name, [*registry.datasets, *registry.collections], n=1)
    remedy = f"did you mean '{close[0]}'?" if close else f"data sets are {', '.join(registry.datasets)}"
    return InputError(f"'{name}' is neither a data set nor a folder", remedy=remedy)
