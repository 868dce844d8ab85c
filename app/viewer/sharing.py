"""Owns the share folder: one page with the scene, a viewer and the figures, that opens without any server."""

import base64
import html
import zipfile
from pathlib import Path
from string import Template
from typing import Any

from app.viewer.light import make_light
from app.viewer.records import plain_name, pose_record
from app.viewer.stage import Stage
from scene3d.io.atomic import make_folder, replace_file

STATIC = Path(__file__).parent / "static"
TEMPLATE = Path(__file__).parents[1] / "templates" / "share.html"


def make_share(stage: Stage, cache: Path) -> dict[str, Any]:
    """Pack a scene for somebody who has nothing but a browser.

    Returns:
        Name, artifact and size of the .zip.
    """
    folder = cache / "export"
    make_folder(folder)
    name = f"{plain_name(Path(stage.run.name).name)}-share.zip"
    light = make_light(stage, cache)
    with replace_file(folder / name) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("index.html", make_page(stage, light))
        archive.write(light, "scene.spz")
        for each in ("report.html", "plan.png"):
            if (stage.run.root / each).is_file():
                archive.write(stage.run.root / each, each)
        archive.write(STATIC / "LICENCES.txt", "LICENCES.txt")
    return {"name": name, "file": f"export/{name}", "size_bytes": (folder / name).stat().st_size}


def make_page(stage: Stage, light: Path) -> str:
    """The page: scene and viewer are inside it, because pages opened from a disk may not read files beside them."""
    pose = pose_record(stage.home)
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(Path(stage.run.name).name),
        position=pose["position"],
        rotation=pose["rotation"],
        fov=pose["fov"],
        target=stage.middle.tolist(),
        radius=stage.radius,
        count=f"{len(stage.scene.gaussians):,}",
        scene=base64.b64encode(light.read_bytes()).decode("ascii"),
        viewer=_as_script((STATIC / "share.js").read_text(encoding="utf-8")),
    )


def _as_script(code: str) -> str:
    """Code that may stand inside a script element."""
    return code.replace("</script", "<\\/script")
