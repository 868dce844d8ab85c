"""Owns the measures of grown places: one mesh without seams, and what a block costs."""

import resource
import time
from typing import Any

import numpy as np
import trimesh
from generation_places import Places, ground_layer

from scene3d.generation.generator import Generator, make_canvas
from scene3d.generation.grow_settings import DETAILS, GrowSettings
from scene3d.generation.seams import boundary_edges, cut_contrast
from scene3d.geometry.isosurface import extract_mesh

GRID = 3


def measure_growth(generator: Generator, places: Places) -> dict[str, Any]:
    """3 x 3 cells by a real layout: contrast across cuts, open edges, pieces of ground, and the order of cells."""
    spec = generator.spec
    canvas = make_canvas(spec, (GRID, GRID))
    layout = places.class_id[0][: canvas.shape[0], : canvas.shape[1]]
    cells = [(i, j) for i in range(GRID) for j in range(GRID)]
    record: dict[str, Any] = {}
    for mode in ("geometry+strips", "independent"):
        for told, map_of in (("", None), (", layout", layout)):
            grown = generator.grow(canvas, cells, GrowSettings(mode=mode), layout=map_of)
            record[mode + told] = growth_figures(grown, spec)
            if mode == "geometry+strips" and map_of is not None:
                again = generator.grow(canvas, cells[::-1], GrowSettings(mode=mode), layout=map_of)
                record["largest_difference_by_order"] = float(np.abs(again.sdf - grown.sdf).max())
    return record


def growth_figures(grown: Any, spec: Any) -> dict[str, Any]:
    """S5 and S6 of a grown place, and how its surface hangs together."""
    side, stride = spec.block_voxels, spec.stride_voxels
    cuts = np.array([edge for k in range(1, GRID) for edge in (k * stride, (k - 1) * stride + side)])
    mesh = extract_mesh(grown)
    low = grown.origin + 1.5 * grown.voxel_size
    high = grown.origin + (np.array(grown.shape) - 1.5) * grown.voxel_size
    pieces = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).split(only_watertight=False)
    areas = sorted((float(piece.area) for piece in pieces), reverse=True)
    wide = sum(np.ptp(piece.vertices[:, :2], axis=0).min() > 0.5 * stride * grown.voxel_size for piece in pieces)
    ground = ground_layer(spec)
    contrast = [cut_contrast(grown.sdf, cuts, axis=axis, ground=ground) for axis in (0, 1)]
    return {
        "cut_contrast": max(contrast),
        "open_edges_inside": boundary_edges(mesh, low, high),
        "wide_pieces": int(wide),
        "pieces": len(pieces),
        "largest_piece_share": areas[0] / sum(areas),
        "triangles": len(mesh.faces),
    }


def measure_detail(generator: Generator) -> dict[str, Any]:
    """What reading the field between voxels costs: 2 x 2 cells, seconds of the processor and the share that is read."""
    canvas, cells = make_canvas(generator.spec, (2, 2)), [(i, j) for i in range(2) for j in range(2)]
    record: dict[str, Any] = {}
    for detail in DETAILS:
        read, voxels = generator.num_detail_read, generator.num_detail_voxels
        began_s = time.process_time()
        grown = generator.grow(canvas, cells, GrowSettings(seed=3, detail=detail))
        record[str(detail)] = {
            "processor_s": time.process_time() - began_s,
            "read_share": (generator.num_detail_read - read) / max(generator.num_detail_voxels - voxels, 1),
            "triangles": len(extract_mesh(grown).faces),
        }
    return record


def measure_time(generator: Generator, places: Places) -> dict[str, Any]:
    """Seconds of the processor and of the clock for one block after another, and for a batch."""
    canvas = make_canvas(generator.spec, (1, 1))
    wide = make_canvas(generator.spec, (7, 7))
    apart = [(i, j) for i in (0, 2, 4, 6) for j in (0, 2, 4, 6)]
    record: dict[str, Any] = {}
    for name, target, cells in (("one", canvas, [(0, 0)]), ("batch_of_16", wide, apart)):
        before, clock_s, processor_s = generator.num_evaluations, time.monotonic(), time.process_time()
        mode = "independent" if len(cells) > 1 else "geometry+strips"
        generator.grow(target, cells, GrowSettings(mode=mode))
        record[name] = {
            "clock_s_per_block": (time.monotonic() - clock_s) / len(cells),
            "processor_s_per_block": (time.process_time() - processor_s) / len(cells),
            "evaluations": generator.num_evaluations - before,
        }
    record["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return record
