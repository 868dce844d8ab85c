"""The report shows what was measured, needs nothing else, and no name becomes live markup."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.charts import MAX_POINTS, line_chart, thin, ticks
from app.report import collect_report, write_report
from app.report_page import Report, honest_notes, render_report, shown_name

XSS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "<a href=javascript:alert(1)>x</a>",
    "<iframe src=javascript:alert(1)>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</pre><script>alert(1)</script>",
    "<!--<script>alert(1)//-->",
    "--><script>alert(1)</script>",
    "<body onload=alert(1)>",
    "<math><mtext><script>alert(1)</script>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<link rel=stylesheet href=javascript:alert(1)>",
    "<meta http-equiv=refresh content=0;url=javascript:alert(1)>",
    "<base href=javascript:alert(1)//>",
    "<form action=javascript:alert(1)><button>x</button>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<input autofocus onfocus=alert(1)>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\x00<scr\x00ipt>alert(1)</script>",
    "${title}$title$$<script>alert(1)</script>",
    "<style>@import 'javascript:alert(1)';</style>",
]


class Outline(HTMLParser):
    """Tags and attributes of a page, and whether every tag is closed."""

    VOID = frozenset({"meta", "img", "br", "line", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def outline(page: str) -> Outline:
    parsed = Outline()
    parsed.feed(page)
    parsed.close()
    assert parsed.open == []
    return parsed


def make_metrics(name: str = "DJI_0001.JPG", *, views: int = 3) -> dict:
    figures = {"psnr_db": 24.5, "ssim": 0.81, "lpips": None}
    return {
        "schema_version": 1,
        "protocol": {"split": f"every 8th view {name}", "image_scale": 0.5, "lpips_net": None, "seed": 0},
        "raw": figures,
        "corrected": {"psnr_db": 27.0, "ssim": 0.83, "lpips": None},
        "per_view": [
            {
                "name": f"{name} {i}",
                "used_share": 1.0,
                "raw": figures,
                "corrected": figures,
                "picture": f"renders/{i:03d}.png",
            }
            for i in range(views)
        ],
        "num_gaussians": 123456,
        "size_bytes": 30_000_000,
        "train_seconds": 91.2,
        "iterations": 2000,
        "peak_memory_bytes": None,
        "reasons": {"lpips": f"weights are not in {name}", "peak_memory_bytes": "the run did not record it"},
    }


def make_run(folder: Path, name: str = "view") -> Path:
    (folder / "eval" / "renders").mkdir(parents=True)
    (folder / "eval" / "metrics.json").write_text(json.dumps(make_metrics(name)))
    picture = np.linspace(0, 255, 30 * 90 * 3).reshape(30, 90, 3).astype(np.uint8)
    for i in range(3):
        Image.fromarray(picture).save(folder / "eval" / "renders" / f"{i:03d}.png")
    finding = {"severity": "warning", "what": f"blurred {name}", "where": name, "remedy": f"drop {name}"}
    (folder / "capture.json").write_text(json.dumps({"findings": [finding]}))
    (folder / "config.yaml").write_text(f"iterations: 2000\nname: {name}\n")
    events = [{"event": "advance", "stage": "train", "step": i, "loss": 1 / (i + 1), "gaussians": i} for i in range(9)]
    events.append({"event": "note", "level": "warning", "message": f"slow disk {name}"})
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, events)) + '\n{"event": "adv')
    curve = [{"iteration": i, "psnr_db": value, "gaussians": 10} for i, value in [(500, 20), (1000, 22), (500, 21)]]
    (folder / "curve.jsonl").write_text("\n".join(map(json.dumps, curve)))
    return folder


def test_the_page_shows_figures_pictures_curves_settings_and_findings(tmp_path):
    page = write_report(make_run(tmp_path / "my run")).read_text(encoding="utf-8")
    parsed = outline(page)
    for expected in ("my run", "24.50 dB", "27.00 dB", "0.8100", "123,456", "30.0 MB", "91 s", "blurred view"):
        assert expected in parsed.text
    for expected in ("slow disk view", "iterations: 2000", "every 8th view", "weights are not in view"):
        assert expected in parsed.text
    assert [tag for tag, _ in parsed.tags].count("img") == 3
    assert [tag for tag, _ in parsed.tags].count("svg") == 3


def make_block_metrics(name: str) -> dict:
    figures = {"num_views": 1234, "num_points": 5, "load": 6, "num_kept": 7, "num_dropped": None}
    return {
        **make_metrics(name),
        "seam_band": {"psnr_db": 21.25, "ssim": 0.7, "lpips": None},
        "interior": {"psnr_db": 23.75, "ssim": 0.75, "lpips": None},
        "blocks": [{"block_id": name, **figures, "train_seconds": 8.0, "peak_memory_bytes": 2_500_000_000}],
        "holes": [{"block_id": name, "reason": f"failed {name}", "area_share": 0.25, "remedy": name}],
    }


def make_block_run(folder: Path, name: str = "007") -> Path:
    run = make_run(folder, name)
    (run / "eval" / "metrics.json").write_text(json.dumps(make_block_metrics(name)))
    Image.new("RGB", (1400, 900), (10, 200, 30)).save(run / "plan.png")
    return run


def test_a_run_in_blocks_shows_seams_blocks_holes_and_its_map(tmp_path):
    page = write_report(make_block_run(tmp_path / "run")).read_text(encoding="utf-8")
    parsed = outline(page)
    for expected in ("seam band", "21.25 dB", "interior", "23.75 dB", "Blocks", "1,234", "8 s", "2.50 GB"):
        assert expected in parsed.text
    assert "Block 007 is missing: failed 007." in parsed.text
    assert "n/a" in parsed.text.split("Blocks")[1]
    assert [tag for tag, _ in parsed.tags].count("img") == 4
    (shown,) = re.findall(r'<img alt="map of the blocks" src="data:image/jpeg;base64,([^"]+)"', page)
    with Image.open(io.BytesIO(base64.b64decode(shown))) as picture:
        assert picture.size == (1400, 900)
        assert np.abs(np.asarray(picture, int)[450, 700] - (10, 200, 30)).max() < 8


def test_a_run_in_one_piece_says_nothing_of_blocks(tmp_path):
    text = outline(write_report(make_run(tmp_path / "run")).read_text(encoding="utf-8")).text
    assert "Blocks" not in text
    assert "seam" not in text


@pytest.mark.parametrize("attack", XSS)
def test_no_name_of_a_block_becomes_markup(attack, tmp_path):
    tags = outline(write_report(make_block_run(tmp_path / "run", "plain")).read_text(encoding="utf-8")).tags
    page = write_report(make_block_run(tmp_path / "other", attack)).read_text(encoding="utf-8")
    assert outline(page).tags == tags


@pytest.mark.parametrize("damage", [3, [1, None], [{}], {"a": 1}, "text"])
def test_damaged_figures_of_blocks_do_not_stop_the_report(damage, tmp_path):
    run = make_block_run(tmp_path / "run")
    metrics = {**make_block_metrics("007"), "blocks": damage, "holes": damage, "seam_band": damage}
    (run / "eval" / "metrics.json").write_text(json.dumps(metrics))
    (run / "plan.png").write_bytes(b"no picture")
    outline(write_report(run).read_text(encoding="utf-8"))


def test_the_page_needs_no_other_file_and_no_script(tmp_path):
    page = write_report(make_run(tmp_path / "run")).read_text(encoding="utf-8")
    parsed = outline(page)
    assert all(source.startswith("data:image/jpeg;base64,") for source in parsed.sources)
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object"}
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "prefers-color-scheme: dark" in page
    first = base64.b64decode(parsed.sources[0].split(",")[1])
    assert first.startswith(b"\xff\xd8")


@pytest.mark.parametrize("attack", XSS)
def test_no_name_becomes_markup(attack, tmp_path):
    tags = outline(write_report(make_run(tmp_path / "run", "plain")).read_text(encoding="utf-8")).tags
    attacked = collect_report(make_run(tmp_path / "other", attack))
    page = render_report(Report(**{**{name: getattr(attacked, name) for name in Report.__slots__}, "title": attack}))
    assert outline(page).tags == tags


def test_missing_figures_are_words_not_numbers():
    page = render_report(Report(title="run", metrics=make_metrics()))
    assert "n/a" in page
    assert "nan" not in outline(page).text.lower().split()
    assert "None" not in outline(page).text


def test_an_empty_run_gives_a_page_that_says_what_is_missing(tmp_path):
    text = outline(write_report(tmp_path).read_text(encoding="utf-8")).text
    for expected in ("has not been evaluated", "No pictures", "No view", "No curve", "not recorded"):
        assert expected in text


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"per_view": 3, "raw": [], "reasons": 1}', "[" * 5000, '{"per_view": [1]}']
)
def test_damaged_records_do_not_stop_the_report(content, tmp_path):
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "metrics.json").write_text(content)
    (tmp_path / "capture.json").write_text(content)
    outline(write_report(tmp_path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", ["../../secret.png", "/etc/hostname", "renders/missing.png", "renders/broken.png", ""])
def test_pictures_outside_the_run_or_broken_are_left_out(path, tmp_path):
    run = make_run(tmp_path / "run")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (run / "eval" / "renders" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    metrics = make_metrics(views=1)
    metrics["per_view"][0]["picture"] = path
    (run / "eval" / "metrics.json").write_text(json.dumps(metrics))
    assert collect_report(run).pictures == []


def test_the_later_measurement_of_a_resumed_run_counts(tmp_path):
    assert collect_report(make_run(tmp_path / "run")).quality_curve == [(500.0, 21.0), (1000.0, 22.0)]


def test_notes_warn_of_few_views_and_of_hidden_exposure():
    notes = " ".join(honest_notes(make_metrics(views=2)))
    assert "2 held-out views are few" in notes
    assert "Correction gains 2.5 dB" in notes
    assert "LPIPS: weights are not in" in notes
    assert "few" not in " ".join(honest_notes(make_metrics(views=12)))


def test_shown_names_keep_letters_of_any_script():
    assert shown_name("Zdjęcie 1/写真.jpg") == "Zdjęcie 1/写真.jpg"
    assert re.fullmatch(r"[\w ./-]*", shown_name("".join(map(chr, range(256)))))


def test_ticks_are_round_and_enclose_the_values():
    assert ticks([0.2, 9.7]) == [0, 2, 4, 6, 8, 10]
    for values in ([3.0, 3.0], [1e-9, 2e-9], [-5.0, 1e6]):
        found = ticks(values)
        assert found[0] <= min(values)
        assert found[-1] >= max(values)
        assert 2 <= len(found) <= 8


def test_charts_stay_inside_their_frame_and_skip_what_is_not_finite():
    points = [(float(i), float("nan") if i == 3 else i * 0.5 - 2) for i in range(2000)]
    chart = line_chart("a < b", points)
    outline(chart)
    places = re.search(r'points="([^"]*)"', chart).group(1).split()
    assert len(places) <= MAX_POINTS
    assert all(0 <= float(x) <= 720 and 0 <= float(y) <= 240 for x, y in (place.split(",") for place in places))
    assert "a &lt; b" in chart
    assert line_chart("one point", [(1.0, 2.0)]) == ""


def test_thinning_keeps_short_curves_and_resists_outliers():
    points = [(float(i), 1.0) for i in range(3000)]
    points[100] = (100.0, 1e9)
    assert max(y for _, y in thin(points)) == 1.0
    assert thin(points[:5]) == points[:5]
