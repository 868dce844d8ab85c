"""The learned perceptual distance LPIPS, from local weights; fetching them lives in `download`."""

from scene3d.lpips.network import Lpips, LpipsNet

__all__ = ["Lpips", "LpipsNet"]
