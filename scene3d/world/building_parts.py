"""Owns the parts that buildings share: pitched roofs, wings and sheds, flat roofs and what stands there."""

import numpy as np
from jaxtyping import Float

from scene3d.world.placement import Dice, Frames, Roof, Shape, build_blocks, linear_light
from scene3d.world.solids import Blocks, Material

FLOOR_M = {Material.HOUSE: 2.8, Material.TERRACE: 3.2, Material.TOWER: 3.1}
PLINTH_M = 0.45
FOUNDATION_M = 3.0
"""How far walls reach below the ground at the middle, so that none hangs in the air on a slope."""

FACADES = linear_light(
    "e8dcc4",
    "f1ead9",
    "d9b98c",
    "c98f6b",
    "e3c7a8",
    "b5523f",
    "9c4a3a",
    "d8d4cc",
    "bfb8aa",
    "dfe3e2",
    "e6d27f",
    "a9b7b0",
    "cfa7a0",
    "f4f1ea",
)
TILES = linear_light("8f4632", "a4533a", "7a3a2c", "b0623f", "5d4a44", "4d4f55", "94553f")
METALS = linear_light("8d9498", "6d7f74", "7b6a62", "a9aeb0")
_GRAVELS = linear_light("8b8882", "77756f", "9d978c", "5f5f60", "a8a7a3")
BRICK = linear_light("8a4a3a")


def make_pitched_roof(
    frames: Frames,
    dice: Dice,
    half: tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]],
    eave: Float[np.ndarray, "n"],
    wall: Float[np.ndarray, "n 3"],
) -> list[Blocks]:
    """A gable or hip roof with eaves, and a chimney."""
    turned = dice.chance("ridge turned", 0.3)
    run = np.where(turned, half[0], half[1])
    slope = dice.between("roof slope", 0.6, 0.95) * np.where(turned, 0.8, 1.0)
    overhang = 0.45
    hip = dice.chance("hip", 0.32)
    tile = dice.pick("tile", TILES) * dice.between("tile shade", 0.85, 1.15)[:, None]
    low = eave - overhang * slope
    roof = build_blocks(
        frames,
        dice,
        Shape(
            half=(half[0] + overhang, half[1] + overhang),
            z=(low - 0.14, low),
            roof=Roof(rise=slope * (run + overhang), end_inset=np.where(hip, run * 0.95, 0.0)),
            turned=turned,
        ),
        material=Material.TILES,
        color=tile,
        trim=wall,
    )
    # A quarter of the way from the ridge, so that it stands out whichever way the ridge runs.
    side = np.where(dice.chance("chimney side", 0.5), 1.0, -1.0)
    aside, along = 0.28 * run * side, dice.between("chimney along", -0.4, 0.4) * np.where(turned, half[1], half[0])
    chimney = build_blocks(
        frames,
        dice,
        Shape(
            half=(0.42, 0.34),
            z=(eave, eave + slope * run * 0.72 + 1.2),
            offset=(np.where(turned, aside, along), np.where(turned, along, aside)),
        ),
        material=Material.CHIMNEY,
        color=np.broadcast_to(BRICK, wall.shape),
    )
    return [roof, chimney.select(dice.chance("chimney", 0.75) & ~hip)]


def make_wings(
    frames: Frames, dice: Dice, half_y: Float[np.ndarray, "n"], eave: Float[np.ndarray, "n"], wall: np.ndarray
) -> list[Blocks]:
    """A lower wing with a gable at the back of some houses, and a shed behind others."""
    winged = np.flatnonzero(dice.chance("wing", 0.42))
    some, few = frames.select(winged), Dice(dice.keys[winged])
    wing_eave = np.maximum(eave[winged] - 1.3, 2.6)
    aside, back = few.between("wing side", -2.2, 2.2), half_y[winged] + 1.5
    half = (few.between("wing x", 2.0, 2.6), few.between("wing y", 1.9, 2.7))
    body = build_blocks(
        some,
        few,
        Shape(half=half, z=(-FOUNDATION_M, wing_eave), offset=(aside, back)),
        material=Material.HOUSE,
        color=wall[winged],
    )
    roof = build_blocks(
        some,
        few,
        Shape(
            half=(half[0] + 0.35, half[1] + 0.35),
            z=(wing_eave - 0.38, wing_eave - 0.25),
            offset=(aside, back),
            roof=Roof(rise=(half[0] + 0.35) * 0.75),
            turned=True,
        ),
        material=Material.TILES,
        color=few.pick("tile", TILES) * few.between("tile shade", 0.85, 1.15)[:, None],
        trim=wall[winged],
    )
    shedded = np.flatnonzero(~dice.chance("wing", 0.42) & dice.chance("shed", 0.5))
    yard, tool = frames.select(shedded), Dice(dice.keys[shedded])
    shed = build_blocks(
        yard,
        tool,
        Shape(
            half=(1.7, 1.3),
            z=(-0.6, 2.0),
            offset=(tool.between("shed side", -5.0, 5.0), half_y[shedded] + 7.5),
            roof=Roof(rise=0.7),
        ),
        material=Material.SHED,
        color=tool.pick("shed", METALS) * [0.8, 0.6, 0.45],
    )
    return [body, roof, shed]


def make_flat_top(
    frames: Frames,
    dice: Dice,
    half: tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]],
    eave: Float[np.ndarray, "n"],
    wall: Float[np.ndarray, "n 3"],
) -> list[Blocks]:
    """Gravel, a parapet on four sides, a stair hut and air handlers."""
    gravel = dice.pick("gravel", _GRAVELS)
    inner = (half[0] - 0.05, half[1] - 0.05)
    parts = [
        build_blocks(
            frames, dice, Shape(half=inner, z=(eave - 0.2, eave + 0.06)), material=Material.FLAT_ROOF, color=gravel
        )
    ]
    thick, z = 0.18, (eave - 0.1, eave + 0.75)
    for side in (-1.0, 1.0):
        along_x = Shape(half=(half[0], thick), z=z, offset=(0.0, side * (half[1] - thick)))
        along_y = Shape(half=(thick, half[1] - 2.0 * thick), z=z, offset=(side * (half[0] - thick), 0.0))
        for shape in (along_x, along_y):
            parts.append(build_blocks(frames, dice, shape, material=Material.PARAPET, color=wall * 0.85))
    hut_at = (dice.between("hut x", -0.4, 0.4) * half[0], dice.between("hut y", -0.3, 0.3) * half[1])
    parts.append(
        build_blocks(
            frames,
            dice,
            Shape(half=(1.9, 1.5), z=(eave, eave + 2.5), offset=hut_at),
            material=Material.FLAT_ROOF,
            color=wall * 0.9,
        )
    )
    metal = np.broadcast_to(METALS[3], wall.shape)
    for number in ("one", "two", "three"):
        at = (
            dice.between(f"vent x {number}", -0.75, 0.75) * half[0],
            dice.between(f"vent y {number}", -0.6, 0.6) * half[1],
        )
        size = (dice.between(f"vent size {number}", 0.4, 0.9), 0.55)
        vent = build_blocks(
            frames, dice, Shape(half=size, z=(eave, eave + 1.0), offset=at), material=Material.FLAT_ROOF, color=metal
        )
        parts.append(vent.select(dice.chance(f"vent {number}", 0.6)))
    return parts
