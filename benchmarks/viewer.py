"""Measures the viewer: the round trip of a server picture, a large scene in the browser, and fifty clients."""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import torch

from benchmarks.machine import describe_machine
from scene3d.gaussians.gaussians import SH_C0, Gaussians
from scene3d.io.atomic import write_json
from scene3d.io.ply import write_gaussians_ply
from scene3d.seeding import make_generator
from tests.app.viewer.browsers import FLAGS
from tests.app.viewer.sites import Site, open_site

RESULTS = Path(__file__).parent / "results" / "viewer.json"
FRAME = (960, 540)
NUM_FRAMES = 30
NUM_GAUSSIANS = 200_000
NUM_CLIENTS, LOAD_S, CALL_EVERY_S = 50, 60.0, 2.0
POSE = "0,-4,0,0.70710678,-0.70710678,0,0,45"
IN_BROWSER_S = 180_000


def main() -> int:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="a finished run for the round trip; a synthetic cloud if not given")
    parser.add_argument("--seconds", type=float, default=LOAD_S, help="how long the clients come")
    parser.add_argument("--clients-of", metavar="URL", help="only be the clients of a server, and print what they saw")
    arguments = parser.parse_args()
    if arguments.clients_of is not None:
        print(json.dumps(asyncio.run(be_clients(arguments.clients_of, arguments.seconds))))
        return 0
    with tempfile.TemporaryDirectory(prefix="scene3d-viewer-") as folder:
        cloud = Path(folder) / "cloud.ply"
        write_gaussians_ply(cloud, make_cloud(NUM_GAUSSIANS))
        shown = cloud if arguments.run is None else arguments.run
        with open_site(Path(folder) / "root", extra=shown) as site:
            frame = measure_frames(site, shown.name)
        with open_site(Path(folder) / "root2", extra=cloud) as site:
            browser = measure_browser(site)
            load = measure_load(site.url, arguments.seconds)
    record = {"schema_version": 1, "machine": describe_machine(), "frame": frame, "browser": browser, "load": load}
    write_json(RESULTS, record)
    print(json.dumps(record, indent=1))
    return 0


def make_cloud(count: int) -> Gaussians:
    """Small coloured Gaussians on a bumpy sphere."""
    generator = make_generator(0, "viewer-benchmark")
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    radii = 1 + 0.05 * torch.sin(9 * directions).sum(dim=1, keepdim=True)
    return Gaussians(
        means=directions * radii,
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        log_scales=torch.full((count, 3), float(np.log(0.006))),
        opacity_logits=torch.full((count,), 2.0),
        sh=((directions * 0.4) / SH_C0)[:, None],
    )


def measure_frames(site: Site, run: str) -> dict[str, Any]:
    """One client that asks for pictures one after another from a slowly moving camera."""
    rows = []
    with httpx.Client(base_url=site.url, timeout=120, trust_env=False) as client:
        info = client.get(f"/scene3d-api/runs/{run}/scene").json()
        home = info["home"]["pose"]
        for number in range(NUM_FRAMES + 3):
            pose = [*home["position"], *home["rotation"], home["fov"]]
            pose[0] += 0.002 * number * info["radius"]
            query = {"size": "{}x{}".format(*FRAME), "pose": ",".join(map(str, pose)), "client": "b", "n": number + 1}
            start_s = time.perf_counter()
            response = client.get(f"/scene3d-frame/{run}", params=query)
            total_ms = 1e3 * (time.perf_counter() - start_s)
            response.raise_for_status()
            split = dict(part.split(";dur=") for part in response.headers["server-timing"].split(", "))
            raster_ms, encode_ms = float(split["raster"]), float(split["encode"])
            rows.append((total_ms, raster_ms, encode_ms, total_ms - raster_ms - encode_ms, len(response.content)))
    names = ("round_trip_ms", "raster_ms", "encode_ms", "transport_ms", "size_bytes")
    figures = {name: median(row[i] for row in rows[3:]) for i, name in enumerate(names)}
    return {"width": FRAME[0], "height": FRAME[1], "num_gaussians": info["num_gaussians"], **figures}


def measure_browser(site: Site) -> dict[str, Any]:
    """How long the browser takes to load the cloud and to draw it, without a graphics card."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(IN_BROWSER_S)
            start_s = time.perf_counter()
            page.goto(site.url, wait_until="domcontentloaded")
            page.wait_for_function("window.scene3d?.panel?.picture?.drawn > 0")
            first_s = time.perf_counter() - start_s
            start_s = time.perf_counter()
            page.get_by_role("button", name="Browser", exact=True).click()
            page.wait_for_function("window.scene3d.panel.picture.loaded")
            loaded_s = time.perf_counter() - start_s
            page.wait_for_function("window.scene3d.panel.picture.splats.frames > 1")
            shown_s = time.perf_counter() - start_s
            splats = page.evaluate("window.scene3d.panel.picture.splats.mesh.packedSplats?.numSplats ?? 0")
        finally:
            browser.close()
    return {
        "num_gaussians": NUM_GAUSSIANS,
        "num_drawn": splats,
        "page_to_first_picture_s": first_s,
        "load_s": loaded_s,
        "shown_s": shown_s,
    }


def measure_load(url: str, seconds: float) -> dict[str, Any]:
    """What the clients see; they are a process of their own, so that they do not hold up the server's."""
    words = [sys.executable, "-m", "benchmarks.viewer", "--clients-of", url, "--seconds", str(seconds)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=seconds + 300)
    return dict(json.loads(done.stdout))


async def be_clients(url: str, seconds: float) -> dict[str, Any]:
    """Many clients at once: each opens the page, then calls every two seconds for a small picture or the jobs."""
    pages: list[float] = []
    calls: list[float] = []
    answers: dict[int, int] = {}
    broken = 0

    async def visit(number: int) -> None:
        nonlocal broken
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            end_s = time.perf_counter() + seconds
            await asyncio.sleep(CALL_EVERY_S * number / NUM_CLIENTS)
            step = 0
            while time.perf_counter() < end_s:
                start_s = time.perf_counter()
                path = "/" if step % 5 == 0 else ("/scene3d-api/jobs" if step % 2 else frame_path(number, step))
                try:
                    response = await client.get(path)
                    (pages if path == "/" else calls).append(time.perf_counter() - start_s)
                    answers[response.status_code] = answers.get(response.status_code, 0) + 1
                except httpx.HTTPError:
                    broken += 1
                step += 1
                with suppress(ValueError):
                    await asyncio.sleep(max(0.0, CALL_EVERY_S - (time.perf_counter() - start_s)))

    await asyncio.gather(*(visit(number) for number in range(NUM_CLIENTS)))
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        alive = (await client.get("/scene3d-api/jobs")).status_code == 200
    return {
        "clients": NUM_CLIENTS,
        "seconds": seconds,
        "page_p95_s": float(np.quantile(pages, 0.95)),
        "page_median_s": median(pages),
        "call_p95_s": float(np.quantile(calls, 0.95)),
        "num_pages": len(pages),
        "num_calls": len(calls),
        "answers": {str(code): count for code, count in sorted(answers.items())},
        "broken_connections": broken,
        "alive_afterwards": alive,
    }


def frame_path(number: int, step: int) -> str:
    """A small picture for one client."""
    return f"/scene3d-frame/cloud.ply?size=160x90&pose={POSE}&client=c{number}&n={step + 1}"


if __name__ == "__main__":
    sys.exit(main())
