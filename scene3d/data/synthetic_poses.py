"""Owns the ways a synthetic capture is flown or walked: exact camera poses over a crop of the world."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from scene3d.cameras.trajectories import look_at
from scene3d.world.crop import Crop
from scene3d.world.streets import warp_from_plan

LOWEST_FLIGHT_M = 60.0
"""Above the ground in the middle; towers end at 40."""

AERIAL_TILTS_DEG = (8.0, 30.0)
ORBIT_ELEVATIONS_DEG = (34.0, 50.0)
EYE_HEIGHT_M = 1.7
STREET_HEADINGS_DEG = (0.0, 50.0, -50.0)
ORBIT_CLEARANCE_M = 2.5
STREET_CLEARANCE_M = 0.7
FAR_VIEW_M = 150.0
"""How far views that look towards the horizon are served with houses and trees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RigPlan:
    """What decides where the cameras stand."""

    kind: Literal["aerial", "orbit", "street"]
    num_views: int
    extent_m: float
    field_of_view_deg: float
    aspect: float
    """Image height over width."""

    @property
    def num_rows(self) -> int:
        """Flight lines of the aerial grid."""
        return max(1, round(np.sqrt(self.num_views)))

    @property
    def flight_height_m(self) -> float:
        """Above the ground: so that a picture is about four times as wide as the way to the next."""
        spacing = self.extent_m / max(self.num_rows - 1, 1)
        return max(LOWEST_FLIGHT_M, 2.0 * spacing / self.half_width)

    @property
    def half_width(self) -> float:
        """Half the picture's width at depth one."""
        return float(np.tan(np.radians(0.5 * self.field_of_view_deg)))


def find_reach(plan: RigPlan) -> float:
    """Half side of the square around the middle that the views see well, metres."""
    if plan.kind == "aerial":
        steepest = np.radians(max(AERIAL_TILTS_DEG)) + np.arctan(plan.half_width * plan.aspect)
        return float(0.5 * plan.extent_m + plan.flight_height_m * min(np.tan(min(steepest, 1.2)), 2.5))
    return 0.5 * plan.extent_m + FAR_VIEW_M


def make_poses(
    crop: Crop, center: tuple[float, float], plan: RigPlan, generator: np.random.Generator
) -> list[Float[np.ndarray, "4 4"]]:
    """`cam_from_world` of every view.

    Args:
        crop: The world around; cameras keep clear of what stands in it.
        center: Middle of the capture.
        plan: What to fly or walk.
        generator: For the small irregularities of a hand or the wind.
    """
    makers = {"aerial": _aerial, "orbit": _orbit, "street": _street}
    return makers[plan.kind](crop, center, plan, generator)


def _aerial(
    crop: Crop, center: tuple[float, float], plan: RigPlan, generator: np.random.Generator
) -> list[Float[np.ndarray, "4 4"]]:
    """Lines flown to and fro; the gimbal looks steeply down and aslant in turn, to all four sides."""
    ground = float(crop.height(np.array([center]))[0])
    rows = np.array_split(np.arange(plan.num_views), plan.num_rows)
    spacing = plan.extent_m / max(plan.num_rows - 1, 1)
    poses = []
    for row, views in enumerate(rows):
        along = (np.arange(len(views)) + 0.5) / len(views) - 0.5
        for number, share in enumerate(along if row % 2 == 0 else -along):
            y = (row - 0.5 * (plan.num_rows - 1)) * spacing
            place = np.array([center[0] + share * plan.extent_m, center[1] + y, ground + plan.flight_height_m])
            place += generator.normal(0, [0.04 * spacing, 0.04 * spacing, 0.02 * plan.flight_height_m])
            tilt = np.radians(AERIAL_TILTS_DEG[(row + number) % 2] + generator.normal(0, 1.5))
            heading = np.radians(90.0 * (number // 2 + row % 4) + 45.0 * (row % 2) + generator.normal(0, 3.0))
            level = np.array([np.sin(heading), np.cos(heading), 0.0])
            forward = level * np.sin(tilt) - np.array([0.0, 0.0, np.cos(tilt)])
            poses.append(look_at(place, place + forward, level))
    return poses


def _orbit(
    crop: Crop, center: tuple[float, float], plan: RigPlan, generator: np.random.Generator
) -> list[Float[np.ndarray, "4 4"]]:
    """One turn, low and high in turn, raised where a roof or a tree is in the way."""
    target = np.array([*center, float(crop.height(np.array([center]))[0]) + 4.0])
    poses = []
    for view in range(plan.num_views):
        azimuth = 2.0 * np.pi * (view + 0.2 * generator.uniform(-1, 1)) / plan.num_views
        elevation = np.radians(ORBIT_ELEVATIONS_DEG[view % 2] + generator.normal(0, 1.0))
        direction = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        place = target + 0.5 * plan.extent_m / np.cos(elevation) * np.array(direction)
        while crop.distance(place[None])[0] < ORBIT_CLEARANCE_M:
            place[2] += ORBIT_CLEARANCE_M
        poses.append(look_at(place, target + generator.normal(0, 0.01 * plan.extent_m, 3)))
    return poses


def _street(
    crop: Crop, center: tuple[float, float], plan: RigPlan, generator: np.random.Generator
) -> list[Float[np.ndarray, "4 4"]]:
    """A walk along the busiest street beside the middle, looking ahead and to both sides in turn."""
    at = crop.terrain.sample(np.array([center]))
    spot = crop.plan.locate(at.u, at.v)
    side = int(spot.kinds[:, 0].argmax())
    along_v = side < 2
    lines, index = (crop.plan.u_lines, spot.i[0]) if along_v else (crop.plan.v_lines, spot.j[0])
    line, middle = lines[index + side % 2], float(at.v[0] if along_v else at.u[0])
    stations = -(-plan.num_views // len(STREET_HEADINGS_DEG))
    poses = []
    for view in range(plan.num_views):
        # Looks from one station are a step apart, so that no two views share a centre.
        share = (view + 0.5) / (stations * len(STREET_HEADINGS_DEG)) - 0.5
        place, ahead = _stand(crop, line, middle + share * plan.extent_m, along_v=along_v)
        turn = np.radians(STREET_HEADINGS_DEG[view % len(STREET_HEADINGS_DEG)] + generator.normal(0, 3.0))
        level = ahead * np.cos(turn) + np.array([-ahead[1], ahead[0], 0.0]) * np.sin(turn)
        rise = np.array([0.0, 0.0, 0.06 + generator.normal(0, 0.02)])
        poses.append(look_at(place, place + level + rise))
    return poses


def _stand(
    crop: Crop, line: float, along: float, *, along_v: bool
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """A place on a street clear of cars, and the unit vector along the street."""
    places = []
    for aside in (0.2, 1.0, -1.0, 0.6, -0.6):
        across, ends = np.full(2, line + aside), np.array([along, along + 2.0])
        u, v = (across, ends) if along_v else (ends, across)
        xy = np.stack(warp_from_plan(crop.seed, u, v), axis=1)
        place = np.array([*xy[0], float(crop.height(xy[:1])[0]) + EYE_HEIGHT_M])
        ahead = np.array([*(xy[1] - xy[0]), 0.0])
        places.append((float(crop.distance(place[None])[0]), place, ahead / np.linalg.norm(ahead)))
        if places[-1][0] >= STREET_CLEARANCE_M:
            break
    _, place, ahead = max(places, key=lambda one: one[0])
    return place, ahead
