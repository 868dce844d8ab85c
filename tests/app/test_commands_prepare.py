"""What `scene3d prepare` says at its end."""

from app.commands.prepare import summarise


def test_the_summary_tells_what_was_placed_and_how_long_all_stages_took():
    report = {
        "num_registered": 10,
        "num_photos": 11,
        "num_points": 2782,
        "mean_reprojection_error_px": 0.2856,
        "georeference": None,
        "seconds": {"match": 13.8, "map": 25.7, "undistort": 4.1},
    }
    line = "10 of 11 photographs placed, 2,782 points, mean reprojection error 0.29 px, scale arbitrary, 44 s"
    assert summarise(report) == line
    assert "in metres from GPS" in summarise({**report, "georeference": {"epsg": 4978}})
