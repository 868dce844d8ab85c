"""Owns the settings of merging blocks; their docstrings are the command line's help."""

from dataclasses import dataclass

from scene3d.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeSettings:
    """How trained blocks become one scene."""

    audit: bool = True
    """Remove Gaussians of one block that hang in air through which its neighbour sees a surface."""

    audit_tolerance: float = 0.05
    """Share of the neighbour's depth that a surface must lie before it to count as hanging in the air."""

    audit_weight: float = 0.5
    """Blending weight in the air, summed over a view's pixels, above which the view speaks against a Gaussian."""

    audit_min_views: int = 2
    """So many views must speak against a Gaussian."""

    audit_max_side_px: int = 400
    """Views are looked at with no side longer than this."""

    refine_iterations: int = 300
    """Iterations for each block, after the crop, in which Gaussians at its seams learn to fit what the neighbours have
    put beside them; 0 for none."""

    max_resident_blocks: int = 3
    """At most so many blocks are in memory at once while views are looked at."""

    def __post_init__(self) -> None:
        if not 0 < self.audit_tolerance < 1:
            raise SettingsError(f"audit_tolerance is {self.audit_tolerance}; it lies between 0 and 1")
        if self.audit_weight < 0:
            raise SettingsError(f"audit_weight is {self.audit_weight}; it must be zero or more")
        for name in ("audit_min_views", "audit_max_side_px", "max_resident_blocks"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be at least 1")
