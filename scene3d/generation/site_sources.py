"""Owns where training sites come from: the procedural world, a folder of meshes, or the voxels of a scene."""

from pathlib import Path

from scene3d.errors import SettingsError
from scene3d.events import Quiet, Reporter
from scene3d.generation.mesh_sites import load_models, make_mesh_site
from scene3d.generation.site_store import SiteSet, describe_source, find_sites, stack_sites, write_sites
from scene3d.generation.sites import make_world_site
from scene3d.generation.spec import GeneratorSpec


def load_sites(
    source: str, spec: GeneratorSpec, count: int, seed: int, *, cache: Path, reporter: Reporter | None = None
) -> SiteSet:
    """Sites from a source, made once and then read from the cache.

    Args:
        source: `world`, or `meshes:FOLDER`.
        spec: The blocks that will be cut out of them.
        count: How many sites.
        seed: Of their choice.
        cache: Folder for what was made.
        reporter: Told about each site.

    Raises:
        SettingsError: There is no such source.
        InputError: The folder holds nothing usable.
    """
    kind, _, place = source.partition(":")
    if kind not in ("world", "meshes") or (kind == "meshes") != bool(place):
        raise SettingsError(f"there is no data source '{source}'", remedy="give world or meshes:FOLDER")
    description = describe_source(spec, {"kind": kind, "place": place, "count": count, "seed": seed})
    found = find_sites(cache, description)
    if found is not None:
        return found
    reporter = reporter or Quiet()
    models = load_models(Path(place), reporter) if kind == "meshes" else []
    reporter.start("sites", count)
    sites = []
    for number in range(count):
        made = make_mesh_site(spec, models, seed, number) if models else make_world_site(spec, seed, number)
        sites.append(made)
        reporter.advance("sites", number + 1)
    reporter.finish("sites")
    stacked = stack_sites(sites)
    write_sites(cache, stacked, description)
    return stacked
