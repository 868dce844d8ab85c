"""Owns the numbers that every backend must agree on."""

ALPHA_MIN = 1.0 / 255.0
"""A Gaussian fainter than this at a pixel is skipped there: 8-bit images cannot show it (Kerbl et al. 2023)."""

ALPHA_MAX = 0.99
"""Upper clamp of a Gaussian's alpha at a pixel; keeps 1 - alpha away from zero. gsplat 1.5.3 clamps at 0.999."""

T_MIN = 1e-4
"""A Gaussian that would bring a pixel's transmittance to this or below is not added, and the pixel stops."""

MEDIAN_T = 0.5
"""The median depth is that of the first Gaussian that brings the transmittance to this or below."""

EPS2D = 0.3
"""Added to both diagonal entries of the projected covariance, pixels squared: a splat covers about a pixel."""

EXTENT_SIGMA_MAX = 3.33
"""No splat reaches further than this many standard deviations: sqrt(2 ln 255) rounded up."""

FRUSTUM_SLACK = 0.3
"""The slopes x/z, y/z used in the projection's Jacobian are clamped this share of tan(fov/2) outside the image."""

NEAR_PLANE = 0.01
"""Default nearest depth, world units."""

FAR_PLANE = 1e10
"""Default farthest depth, world units."""

TILE_SIZE = 16
"""Side of a tile, pixels."""

CHANNEL_CHUNK = 32
"""Most channels blended in one pass."""

MAX_SH_DEGREE = 3
"""Highest degree of spherical harmonics."""

MAX_RADIUS_PX = 1 << 24
"""Radii are cut here, so that they fit 32-bit integers whatever the scale."""

DEPTH_ALPHA_MIN = 1e-10
"""Expected depth divides by the alpha, which is not let below this."""

SSIM_WINDOW = 11
"""Side of the Gaussian window of SSIM, pixels (Wang et al. 2004)."""

SSIM_SIGMA = 1.5
"""Standard deviation of the Gaussian window of SSIM, pixels."""

SSIM_C1 = 0.01**2
"""Stabilises SSIM's luminance term, for images in 0..1."""

SSIM_C2 = 0.03**2
"""Stabilises SSIM's contrast term, for images in 0..1."""
