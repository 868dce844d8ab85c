"""Owns where training sites come from: the procedural world, rooms, meshes, the voxels of a scene, and mixtures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scene3d.errors import SettingsError
from scene3d.events import Quiet, Reporter
from scene3d.generation.mesh_sites import load_models, make_mesh_site
from scene3d.generation.palette import ROOM_CLASSES
from scene3d.generation.room_sites import make_room_site
from scene3d.generation.site_store import (
    SiteSet,
    describe_source,
    find_sites,
    join_sets,
    stack_sites,
    write_sites,
)
from scene3d.generation.sites import Site, make_world_site
from scene3d.generation.spec import GeneratorSpec

SiteMaker = Callable[[int], Site]
"""The site of a number, always the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSource:
    """Something that sites are made of."""

    identity: dict[str, Any]
    """What its sites follow from, besides the spec: sites that were kept are used again for the same."""

    prepare: Callable[[Reporter], SiteMaker]
    """Called when sites must be made."""


def find_source(name: str, spec: GeneratorSpec, seed: int) -> SiteSource:
    """The source of a name.

    Args:
        name: `world`, `rooms`, or `meshes:FOLDER`.
        spec: The blocks that will be cut out of its sites.
        seed: Of the choice of sites.

    Raises:
        SettingsError: There is no such source, or the spec's classes are not those of its sites.
    """
    kind, _, place = name.partition(":")
    if kind not in ("world", "rooms", "meshes") or (kind == "meshes") != bool(place):
        raise SettingsError(f"there is no data source '{name}'", remedy="give world, rooms, meshes:FOLDER or run:RUN")
    if (kind == "rooms") != (spec.classes == ROOM_CLASSES):
        raise SettingsError("rooms have blocks and classes of their own", remedy="train on rooms alone")

    def prepare(reporter: Reporter) -> SiteMaker:
        if kind == "world":
            return lambda number: make_world_site(spec, seed, number)
        if kind == "rooms":
            return lambda number: make_room_site(spec, seed, number)
        models = load_models(Path(place), reporter)
        return lambda number: make_mesh_site(spec, models, seed, number)

    return SiteSource(identity={"kind": kind, "place": place, "seed": seed}, prepare=prepare)


def load_sites(
    sources: Sequence[SiteSource], spec: GeneratorSpec, count: int, *, cache: Path, reporter: Reporter | None = None
) -> SiteSet:
    """Sites from some sources, made once and then read from the cache.

    Each source gives as many as the others (the first ones give what is over); they take turns, so that the last
    sites, which a training holds out, come from all of them.

    Args:
        sources: At least one.
        spec: The blocks that will be cut out of them.
        count: How many sites in all, at least one for each source.
        cache: Folder for what was made.
        reporter: Told about each site.

    Raises:
        SettingsError: There are more sources than sites.
        InputError: A source holds nothing usable.
    """
    if not 0 < len(sources) <= count:
        raise SettingsError(f"{count} sites cannot come from {len(sources)} sources", remedy="give --sites a number")
    reporter = reporter or Quiet()
    shares = [len(range(first, count, len(sources))) for first in range(len(sources))]
    sets = [_load(one, spec, share, cache, reporter) for one, share in zip(sources, shares, strict=True)]
    if len(sets) == 1:
        return sets[0]
    turns = torch.cat([torch.arange(share) * len(sources) + first for first, share in enumerate(shares)])
    return join_sets(sets).select(turns.argsort())


def _load(source: SiteSource, spec: GeneratorSpec, count: int, cache: Path, reporter: Reporter) -> SiteSet:
    description = describe_source(spec, {**source.identity, "count": count})
    found = find_sites(cache, description)
    if found is not None:
        return found
    make = source.prepare(reporter)
    reporter.start("sites", count)
    sites = []
    for number in range(count):
        sites.append(make(number))
        reporter.advance("sites", number + 1)
    reporter.finish("sites")
    stacked = stack_sites(sites)
    write_sites(cache, stacked, description)
    return stacked
