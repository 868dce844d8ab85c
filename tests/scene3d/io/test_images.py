"""Photographs of every kind become the same upright RGB bytes; everything else is refused by name."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scene3d.errors import InputError, LimitExceeded
from scene3d.io import images
from scene3d.io.images import read_image, read_image_size, read_mask, write_image

HEIGHT, WIDTH = 24, 40
FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif"}
TURNS = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}
"""How a camera held in each way stores an upright picture; the reader must undo it."""

COLOR_MODES = ["RGB", "RGBA", "P", "CMYK"]
GREY_MODES = ["L", "LA", "1", "I;16", "I", "F"]
VALID = {
    "PNG": ["RGB", "RGBA", "P", "L", "LA", "1", "I;16"],
    "JPEG": ["RGB", "CMYK", "L"],
    "WEBP": ["RGB", "RGBA"],
    "TIFF": ["RGB", "RGBA", "P", "CMYK", "L", "LA", "1", "I;16", "F"],
}


def smooth_rgb() -> np.ndarray:
    """Few smooth levels, no two turns of it alike, so that JPEG and palettes keep it nearly exact."""
    column, row = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    red, green, blue = 200 * column + 20, 180 * row + 30, 120 * column * row + 60
    return np.stack([red, green, blue], axis=2).round().astype(np.uint8)


def upright_for(mode: str) -> tuple[Image.Image, np.ndarray]:
    """A picture of one mode and the RGB bytes a reader must make of it."""
    rgb = smooth_rgb()
    grey = rgb[:, :, 0]
    grey_rgb = np.repeat(grey[:, :, None], 3, axis=2)
    if mode == "1":
        bits = grey > 120
        return Image.fromarray(bits), np.repeat(bits[:, :, None], 3, axis=2).astype(np.uint8) * 255
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 257), grey_rgb
    if mode == "F":
        return Image.fromarray(grey.astype(np.float32) / 255), grey_rgb
    if mode in GREY_MODES:
        return Image.fromarray(grey).convert(mode), grey_rgb
    picture = Image.fromarray(rgb)
    if mode == "P":
        quantised = picture.quantize(256)
        return quantised, np.array(quantised.convert("RGB"))
    return picture.convert(mode), rgb


def stored(picture: Image.Image, orientation: int) -> Image.Image:
    array = np.asarray(picture)
    turned = np.ascontiguousarray(TURNS[orientation](array if array.ndim == 3 else array[:, :, None]))
    if picture.mode == "1":
        return Image.fromarray(turned[:, :, 0])
    result = Image.frombytes(picture.mode, (turned.shape[1], turned.shape[0]), turned.tobytes())
    if picture.mode == "P":
        result.putpalette(picture.getpalette())
    return result


def save(picture: Image.Image, path: Path, image_format: str, orientation: int = 1, **options: object) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exact = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(image_format, {})
    picture.save(path, image_format, exif=exif, **{**exact, **options})


@pytest.mark.parametrize("orientation", sorted(TURNS))
@pytest.mark.parametrize(("image_format", "mode"), [(each, mode) for each in VALID for mode in VALID[each]])
def test_every_mode_format_and_turn_becomes_the_same_upright_rgb(
    tmp_path: Path, image_format: str, mode: str, orientation: int
) -> None:
    picture, expected = upright_for(mode)
    path = tmp_path / f"photo{FORMATS[image_format]}"
    save(stored(picture, orientation), path, image_format, orientation)
    decoded = read_image(path)
    assert decoded.image.dtype == np.uint8
    assert (decoded.width, decoded.height) == (WIDTH, HEIGHT) == read_image_size(path)
    tolerance = {"JPEG": 4}.get(image_format, 1)
    assert np.abs(decoded.image.astype(int) - expected.astype(int)).max() <= tolerance
    assert decoded.mask is None


def test_alpha_over_one_half_becomes_the_mask_and_colours_stay_as_stored(tmp_path: Path) -> None:
    rgba = np.zeros((3, 4, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[..., 3] = [[0, 127, 128, 255]] * 3
    Image.fromarray(rgba).save(tmp_path / "a.png")
    decoded = read_image(tmp_path / "a.png")
    assert decoded.mask is not None
    assert decoded.mask.tolist() == [[False, False, True, True]] * 3
    assert (decoded.image == [200, 0, 0]).all()


def test_a_transparent_palette_entry_becomes_the_mask(tmp_path: Path) -> None:
    picture = Image.frombytes("P", (2, 2), bytes([0, 1, 1, 0]))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.save(tmp_path / "a.png", transparency=1)
    decoded = read_image(tmp_path / "a.png")
    assert decoded.mask is not None
    assert decoded.mask.tolist() == [[True, False], [False, True]]


def test_sixteen_bits_are_scaled_by_65535_and_rounded(tmp_path: Path) -> None:
    levels = np.array([[0, 128, 129, 32767, 65406, 65407, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").image[0, :, 0].tolist() == [0, 0, 1, 127, 254, 255, 255]


def test_a_big_endian_sixteen_bit_tiff_reads_the_same(tmp_path: Path) -> None:
    levels = np.arange(0, 65535, 1311, dtype=np.uint16)[None]
    Image.fromarray(levels).save(tmp_path / "a.tif")
    Image.fromarray(levels.astype(">u2")).save(tmp_path / "b.tif")
    assert (read_image(tmp_path / "a.tif").image == read_image(tmp_path / "b.tif").image).all()


@pytest.mark.parametrize("values", [[0.0, 1.5], [-0.1, 0.5], [0.5, float("nan")]])
def test_floating_point_outside_zero_to_one_is_refused(tmp_path: Path, values: list[float]) -> None:
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"outside 0\.\.1"):
        read_image(tmp_path / "a.tif")


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 4), color) for color in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    frames[0].save(tmp_path / "b.tif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "c.jpg", "MPO", save_all=True, append_images=frames[1:])
    for name in ("a.webp", "b.tif", "c.jpg"):
        assert np.abs(read_image(tmp_path / name).image.astype(int) - [255, 0, 0]).max() <= 2


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    Image.fromarray(smooth_rgb()).save(tmp_path / "a.jpg", "PNG")
    assert (read_image(tmp_path / "a.jpg").image == smooth_rgb()).all()


@pytest.mark.parametrize("image_format", sorted(FORMATS))
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_an_image_cut_short_is_refused(tmp_path: Path, image_format: str, share: float) -> None:
    whole = tmp_path / "whole"
    noise = np.random.default_rng(3).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(whole, image_format)
    path = tmp_path / f"cut{FORMATS[image_format]}"
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("image_format", ["GIF", "BMP", "ICO", "PPM"])
def test_a_format_outside_the_list_is_refused(tmp_path: Path, image_format: str) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(smooth_rgb()).save(path, image_format)
    with pytest.raises(InputError, match="is not a PNG, JPEG, WebP or TIFF"):
        read_image(path)


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(8001, 8000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
@pytest.mark.parametrize("read", [read_image, read_image_size])
def test_an_image_that_claims_too_many_pixels_is_refused_before_decoding(
    tmp_path: Path, width: int, height: int, read: object
) -> None:
    (tmp_path / "a.png").write_bytes(png_that_claims(width, height))
    with pytest.raises(LimitExceeded, match="64,000,000"):
        read(tmp_path / "a.png")


def test_an_image_at_the_pixel_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT)
    Image.fromarray(smooth_rgb()).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").width == WIDTH
    monkeypatch.setattr(images, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(LimitExceeded):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"", b"not an image at all", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError):
        read_image(tmp_path / "a.png")


def test_a_folder_a_missing_file_and_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path, tmp_path / "missing.png", tmp_path / "pipe.png", Path("a\0b.png")):
        with pytest.raises(InputError):
            read_image(path)


def test_memory_running_out_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(smooth_rgb()).save(tmp_path / "a.png")

    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", exhausted)
    with pytest.raises(LimitExceeded, match="memory"):
        read_image(tmp_path / "a.png")


def test_written_values_are_rounded_not_cut(tmp_path: Path) -> None:
    levels = np.arange(256)
    for shift in (-0.49, 0.0, 0.49):
        image = np.repeat(((levels + shift) / 255)[None, :, None], 3, axis=2)
        write_image(tmp_path / "a.png", image)
        assert (read_image(tmp_path / "a.png").image[0, :, 0] == levels).all()


def test_a_tensor_and_an_array_give_the_same_file_and_outliers_are_clamped(tmp_path: Path) -> None:
    image = torch.linspace(-0.5, 1.5, 2 * 3 * 3).reshape(2, 3, 3).requires_grad_()
    write_image(tmp_path / "a.png", image)
    write_image(tmp_path / "b.png", image.detach().numpy())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    read = read_image(tmp_path / "a.png").image
    assert (read.min(), read.max()) == (0, 255)


def test_a_jpeg_is_close_to_what_was_written(tmp_path: Path) -> None:
    write_image(tmp_path / "a.JPG", smooth_rgb() / 255)
    with Image.open(tmp_path / "a.JPG") as picture:
        assert picture.format == "JPEG"
    assert np.abs(read_image(tmp_path / "a.JPG").image.astype(int) - smooth_rgb()).max() <= 5


def test_writing_refuses_other_suffixes_and_nan_and_leaves_nothing(tmp_path: Path) -> None:
    image = np.zeros((2, 2, 3))
    for name in ("a.gif", "a"):
        with pytest.raises(InputError, match=r"use \.png or \.jpg"):
            write_image(tmp_path / name, image)
    with pytest.raises(InputError, match="not finite"):
        write_image(tmp_path / "a.png", np.full((2, 2, 3), np.nan))
    assert list(tmp_path.iterdir()) == []


def test_a_mask_is_true_where_any_channel_is_nonzero_and_opaque(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(tmp_path / "grey.png")
    assert read_mask(tmp_path / "grey.png").tolist() == [[False, True, True]]
    rgba = np.array([[[0, 9, 0, 255], [9, 9, 9, 0], [0, 0, 0, 255]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    assert read_mask(tmp_path / "rgba.png").tolist() == [[True, False, False]]
