"""Owns `scene3d evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from app.settings_flags import OptionalPath
from scene3d.events import Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Measure a reconstruction on the photographs it never saw: PSNR, SSIM and LPIPS, raw and colour-corrected.

    Writes RUN/eval/metrics.json, pictures beside it, and RUN/report.html. Ends with 3 when some of the held-out
    photographs are gone.
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """The --output folder of `scene3d reconstruct`."""

    capture: OptionalPath = None
    """Where the capture lies now, if it was moved."""

    lpips_net: Literal["alex", "vgg"] = "alex"
    """Backbone of LPIPS: figures of different ones cannot be compared."""

    lpips_weights: OptionalPath = None
    """File or folder with LPIPS weights; else SCENE3D_WEIGHTS and the user cache are looked at."""

    max_pictures: int = 32
    """At most this many views are saved as pictures, the worst first."""

    backend: Literal["auto", "cpu", "reference", "gsplat"] = "auto"
    """Rasterizer; `scene3d doctor` lists them."""


def run(command: Evaluate, reporter: Reporter) -> int:
    """Measure and print the table."""
    from app.evaluating import evaluate_run, format_table
    from scene3d.training.evaluation import EvaluationSettings

    settings = EvaluationSettings(
        lpips_net=command.lpips_net,
        lpips_weights=command.lpips_weights,
        max_pictures=command.max_pictures,
        backend=command.backend,
    )
    record, code = evaluate_run(command.run, settings, reporter, capture_folder=command.capture)
    print(format_table(record))
    print(f"report in {command.run / 'report.html'}")
    return code
