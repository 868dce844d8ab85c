"""What photographs say of themselves."""

from pathlib import Path

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from scene3d.data.sfm.exif import read_photo_tags
from scene3d.errors import InputError


def _photo(
    path: Path, *, latitude: tuple[float, float, float], reference: str = "N", altitude_below: bool = False
) -> Path:
    image = Image.new("RGB", (400, 300))
    exif = image.getexif()
    exif[Base.Make], exif[Base.Model], exif[Base.Orientation] = "DJI\x00", "FC300S", 6
    exif.get_ifd(IFD.Exif)[Base.FocalLengthIn35mmFilm] = 20
    gps = exif.get_ifd(IFD.GPSInfo)
    gps[GPS.GPSLatitude], gps[GPS.GPSLatitudeRef] = latitude, reference
    gps[GPS.GPSLongitude], gps[GPS.GPSLongitudeRef] = (91.0, 59.0, 38.4), "W"
    gps[GPS.GPSAltitude], gps[GPS.GPSAltitudeRef] = 233.5, b"\x01" if altitude_below else b"\x00"
    image.save(path, exif=exif)
    return path


def test_camera_focal_and_position_are_read(tmp_path: Path) -> None:
    tags = read_photo_tags(_photo(tmp_path / "a.jpg", latitude=(46.0, 50.0, 33.6)))
    assert (tags.width, tags.height, tags.orientation, tags.camera) == (400, 300, 6, "DJI FC300S")
    assert tags.focal_px == pytest.approx(20 / 36 * 400)
    assert tags.latitude_deg == pytest.approx(46.842667, abs=1e-6)
    assert tags.longitude_deg == pytest.approx(-91.994, abs=1e-6)
    assert tags.altitude_m == pytest.approx(233.5)


def test_south_and_below_the_sea_are_negative(tmp_path: Path) -> None:
    path = _photo(tmp_path / "a.jpg", latitude=(10.0, 30.0, 0.0), reference="S", altitude_below=True)
    tags = read_photo_tags(path)
    assert tags.latitude_deg == pytest.approx(-10.5)
    assert tags.altitude_m == pytest.approx(-233.5)


@pytest.mark.parametrize("latitude", [(0.0, 0.0, 0.0), (400.0, 0.0, 0.0)])
def test_a_position_that_cannot_be_is_none(tmp_path: Path, latitude: tuple[float, float, float]) -> None:
    assert read_photo_tags(_photo(tmp_path / "a.jpg", latitude=latitude)).latitude_deg is None


def test_a_text_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("not a photograph")
    with pytest.raises(InputError, match=r"a\.jpg"):
        read_photo_tags(path)
