"""Compares the amortised auto-encoder with the published way, planes fitted to each block and then compressed.

    python benchmarks/generation_published.py --output benchmarks/results/generation_published.json

Both are trained here on the same places, with the blocks, codes and widths of a preset; both are measured on blocks of
places that neither saw. Figures for each: error of the distances, overlap of matter above the ground, chamfer distance
and F-score beside sampling the true surface twice, and the processor's seconds, for the training and for each block.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from generation import rounded
from generation_places import make_places
from generation_sets import compare_shapes
from machine import describe_machine

from scene3d.generation.batches import crop_batch
from scene3d.generation.generator import Generator
from scene3d.generation.palette import default_classes
from scene3d.generation.published import published_settings, train_published
from scene3d.generation.refinement import refine_codes
from scene3d.generation.site_sources import find_source, load_sites
from scene3d.generation.train_settings import make_preset
from scene3d.generation.training import train_generator
from scene3d.generation.voxel_tensors import tensor_from_values, values_from_tensor
from scene3d.seeding import make_generator

HELD_OUT_SEED = 1000


def main() -> None:
    """Train both, measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=["nano", "tiny"], default="nano")
    parser.add_argument("--sites", type=int, default=16, help="places to train on")
    parser.add_argument("--blocks", type=int, default=64, help="blocks that planes are fitted to")
    parser.add_argument("--held-out", type=int, default=16, help="blocks to measure")
    parser.add_argument("--fit-steps", type=int, default=90, help="of the optimizer, for each batch of planes")
    parser.add_argument("--steps", type=int, default=400, help="of either auto-encoder")
    parser.add_argument("--cache", type=Path, default=Path(".cache/generation"))
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    settings = replace(make_preset(options.preset, default_classes()), autoencoder_steps=options.steps)
    spec = settings.config.spec
    sites = load_sites([find_source("world", spec, 0)], spec, options.sites, cache=options.cache)
    places = make_places(spec, 0, options.held_out, HELD_OUT_SEED, options.cache)
    truth = places.blocks(0, options.held_out)
    record: dict[str, Any] = {
        "machine": describe_machine(),
        "settings": {key: value for key, value in vars(options).items() if not isinstance(value, Path)},
    }
    blocks = crop_batch(sites, spec, options.blocks, make_generator(0, "fitted blocks"), turn=True).voxels[:, 0]
    record |= measure_published(published_settings(settings, fit_steps=options.fit_steps, steps=options.steps),
                                blocks, truth, places)  # fmt: skip
    record |= measure_amortised(settings, sites, truth, places)
    text = json.dumps(rounded(record), indent=1)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")


def measure_published(settings: Any, blocks: torch.Tensor, truth: np.ndarray, places: Any) -> dict[str, Any]:
    """Fitted planes alone, and after their auto-encoder."""
    started = time.process_time()
    codec = train_published(blocks.contiguous(), settings)
    trained = time.process_time()
    planes = codec.fit(tensor_from_values(truth)[:, 0].contiguous())
    fitted = time.process_time()
    codes = codec.encode(planes)
    found = codec.decode(codes)
    done = time.process_time()
    return {
        "planes fitted to each block": {
            "numbers_per_block": planes[0].numel(),
            "processor_s_per_block": (fitted - trained) / len(truth),
            **compare_shapes(as_values(codec.read(planes)), truth, places),
        },
        "published: planes, then codes": {
            "numbers_per_block": codes[0].numel(),
            "training_processor_s": trained - started,
            "processor_s_per_block": (done - trained) / len(truth),
            **compare_shapes(as_values(found), truth, places),
        },
    }


def measure_amortised(settings: Any, sites: Any, truth: np.ndarray, places: Any) -> dict[str, Any]:
    """The encoder's codes, and codes refined on each block's voxels."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        # One step of the denoiser: nothing here uses it.
        model = train_generator(replace(settings, denoiser_steps=1), sites, Path(folder)).model
    trained = time.process_time()
    generator = Generator(model, "trained here")
    with torch.no_grad():
        codes = generator.encode(truth)
        found = generator.decode(codes)
    encoded = time.process_time()
    refined = refine_codes(model, truth, np.ones(truth.shape[:4], bool))
    with torch.no_grad():
        sharper = generator.decode(refined)
    done = time.process_time()
    return {
        "amortised": {
            "numbers_per_block": codes[0].numel(),
            "training_processor_s": trained - started,
            "processor_s_per_block": (encoded - trained) / len(truth),
            **compare_shapes(found, truth, places),
        },
        "amortised, codes refined": {
            "numbers_per_block": codes[0].numel(),
            "processor_s_per_block": (done - encoded) / len(truth),
            **compare_shapes(sharper, truth, places),
        },
    }


def as_values(tsdf: torch.Tensor) -> np.ndarray:
    """Distances in the block's axes as values in the world's, without colours."""
    return values_from_tensor(torch.cat([tsdf[:, None], torch.zeros_like(tsdf)[:, None].repeat(1, 3, 1, 1, 1)], dim=1))


if __name__ == "__main__":
    main()
