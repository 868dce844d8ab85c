"""Owns how many blocks a scene needs so that each can be trained in the memory given."""

import math

from scene3d.data.capture import Capture
from scene3d.data.split import Split
from scene3d.training.memory import affordable_gaussians
from scene3d.training.preparation import count_pixels, largest_image
from scene3d.training.settings import ReconstructSettings

OVERLAP = 1.3
"""Gaussians of all blocks together over those of the scene: margins and surroundings are trained more than once."""


def choose_num_blocks(capture: Capture, split: Split, settings: ReconstructSettings) -> int:
    """The fewest blocks whose Gaussians fit into `settings.memory_gb`, one if all do.

    How many Gaussians there will be follows from the photographs as in training: one per `pixels_per_gaussian` pixels,
    never fewer than sparse points. No piece gets more than `density.max_gaussians`.
    """
    pixels = count_pixels(capture, split.train, settings)
    wanted = max(len(capture.points), pixels / settings.density.pixels_per_gaussian)
    image_pixels = largest_image(capture, split.train, settings)
    affordable = affordable_gaussians(int(settings.memory_gb * 2**30), settings.sh_degree, image_pixels)
    most = max(1, min(affordable, settings.density.max_gaussians))
    return 1 if wanted <= most else math.ceil(OVERLAP * wanted / most)
