"""Random Gaussians for the tests of the splat files."""

import torch

from scene3d.gaussians.gaussians import Gaussians

FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")


def random_gaussians(num: int, *, degree: int = 3, seed: int = 0) -> Gaussians:
    """Gaussians as training leaves them: unnormalised rotations, scales around a hundredth, mixed opacities."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Gaussians(
        means=3 * normal(num, 3),
        quats=normal(num, 4),
        log_scales=normal(num, 3) - 4,
        opacity_logits=2 * normal(num),
        sh=0.3 * normal(num, (degree + 1) ** 2, 3),
    )
