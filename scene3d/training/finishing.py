"""Owns what becomes of a trained field: the standard Gaussian set, the anchor file, and a record of both."""

from typing import Any

from scene3d.events import Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.anchor_file import write_anchors
from scene3d.io.atomic import make_folder
from scene3d.training.anchor_field import AnchorField
from scene3d.training.baked_refinement import bake_view_field, measure_bake
from scene3d.training.field import Field
from scene3d.training.preparation import Prepared
from scene3d.training.run_folder import RunFolder
from scene3d.training.settings import ReconstructSettings


def finish_field(
    run: RunFolder, field: Field, prepared: Prepared, settings: ReconstructSettings, reporter: Reporter
) -> tuple[Gaussians, dict[str, Any]]:
    """The finished scene as a standard set, and what the manifest says of the field; writes anchors, if it has them.

    In the view mode the set is only a fit; the record says what it costs.
    """
    if not isinstance(field, AnchorField):
        return field.baked(settings.sh_degree), {"field": "explicit"}
    anchors, decoder = field.anchors().detach(), field.shared.student
    make_folder(run.merged_anchors.parent)
    facts = {"voxel": field.voxel, "world_from_capture": prepared.capture.world_from_capture.to_record()}
    sha256 = write_anchors(run.merged_anchors, anchors, decoder, facts=facts)
    record: dict[str, Any] = {
        "field": "anchors",
        "anchors": {
            "file": run.merged_anchors.name,
            "num_anchors": len(anchors),
            "offsets_per_anchor": anchors.num_offsets,
            "size_bytes": run.merged_anchors.stat().st_size,
            "sha256": sha256,
            "decoder_sha256": field.shared.checksum(),
        },
    }
    if decoder.shape.mode == "static":
        return field.baked(settings.sh_degree), record
    gaussians = bake_view_field(field, prepared.capture, prepared.split.train, settings, reporter)
    figures = measure_bake(field, gaussians, prepared, settings)
    record["bake"] = {"iterations": settings.anchors.bake_iterations, **figures}
    reporter.note(
        f"the .ply shows what the anchors show with {figures['psnr_to_field_db']:.1f} dB; "
        f"against the photographs it loses {figures['drop_db']:.2f} dB"
    )
    return gaussians, record
