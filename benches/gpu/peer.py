#!/usr/bin/env python3
"""PyTorch's figures for benches/gpu: the vision tower of BridgeTower in bf16 under torch.compile, and the ceiling.

    python3 benches/gpu/peer.py ceiling
    python3 benches/gpu/peer.py tower --model base --batch 64 128
    python3 benches/gpu/peer.py pairs --model base --pairs 20 100
    python3 benches/gpu/peer.py draw DIR [--pictures 2000]

Lines are NAME<tab>VALUE<tab>UNIT, as main.rs prints them. Weights are random.
"""
import argparse
import os
import sys
import time
import warnings

warnings.filterwarnings("ignore")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))


def row(name, value, unit):
    print(f"{name}\t{value:.3f}\t{unit}", flush=True)


def rate(work, batch, seconds=1.0):
    """Pictures a second, warm, as main.rs measures them."""
    import torch

    for _ in range(3):
        work()
    torch.cuda.synchronize()
    start, runs = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(4):
            work()
        torch.cuda.synchronize()
        runs += 4
    return runs * batch / (time.perf_counter() - start)


def ceiling(_):
    """What a large product of bf16 matrices reaches on this card."""
    import torch

    n = 8192
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    row(f"torch bf16 product of {n} x {n}", rate(lambda: a @ b, 1) * 2 * n**3 / 1e12, "TFLOP/s")


def tower(options):
    import torch
    from peers import bridgetower_config
    from transformers.models.bridgetower.modeling_bridgetower import BridgeTowerVisionModel

    config = bridgetower_config(options.model).vision_config
    with torch.device("cuda"):
        model = BridgeTowerVisionModel(config).eval().to(torch.bfloat16)
    side = config.image_size
    with torch.inference_mode():
        for batch in options.batch:
            pixels = torch.randn(batch, 3, side, side, device="cuda", dtype=torch.bfloat16)
            row(f"torch eager bf16 vision tower {options.model} batch {batch}", rate(lambda: model(pixels), batch), "images/s")
        for batch in options.batch:
            pixels = torch.randn(batch, 3, side, side, device="cuda", dtype=torch.bfloat16)
            torch._dynamo.reset()
            compiled = torch.compile(model, dynamic=False)
            start = time.perf_counter()
            compiled(pixels)
            torch.cuda.synchronize()
            row(f"torch.compile took, {options.model} batch {batch}", time.perf_counter() - start, "s")
            row(f"torch.compile bf16 vision tower {options.model} batch {batch}", rate(lambda: compiled(pixels), batch), "images/s")


def pairs(options):
    """The whole model on pairs of a text and a picture, as its users run it."""
    import torch
    from peers import bridgetower_config
    from transformers import BridgeTowerForImageAndTextRetrieval

    config = bridgetower_config(options.model)
    config._attn_implementation = "sdpa"
    try:
        with torch.device("cuda"):
            model = BridgeTowerForImageAndTextRetrieval(config).eval().to(torch.bfloat16)
    except ValueError:
        config._attn_implementation = "eager"
        with torch.device("cuda"):
            model = BridgeTowerForImageAndTextRetrieval(config).eval().to(torch.bfloat16)
    side = config.vision_config.image_size
    for count in options.pairs:
        ids = torch.randint(5, config.text_config.vocab_size, (count, 12), device="cuda")
        mask = torch.ones_like(ids)
        pixels = torch.randn(count, 3, side, side, device="cuda", dtype=torch.bfloat16)
        with torch.inference_mode():
            speed = rate(lambda: model(input_ids=ids, attention_mask=mask, pixel_values=pixels), count)
        row(f"torch eager bf16 {options.model} ITM, whole model, {count} pairs", speed, "pairs/s")


def draw_one(job):
    from PIL import Image
    import numpy

    path, seed = job
    random = numpy.random.default_rng(seed)
    # Coarse noise made large: compresses and decodes about as photographs of two megapixels do.
    coarse = random.integers(0, 256, (90, 120, 3), dtype=numpy.uint8)
    picture = Image.fromarray(coarse).resize((1600, 1200), Image.BICUBIC)
    fine = random.normal(0, 6, (1200, 1600, 1))
    values = numpy.clip(numpy.asarray(picture, "f4") + fine, 0, 255).astype("u1")
    Image.fromarray(values).save(path, quality=88)


def draw(options):
    from concurrent.futures import ProcessPoolExecutor

    os.makedirs(options.dir, exist_ok=True)
    jobs = [(os.path.join(options.dir, f"{i:05}.jpg"), i) for i in range(options.pictures)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(draw_one, jobs, chunksize=16))
    row("drawn JPEGs of 1600 x 1200", len(jobs), "files")
    row("their size, mean", sum(os.path.getsize(path) for path, _ in jobs) / len(jobs) / 1e3, "kB")


def main():
    parser = argparse.ArgumentParser()
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("ceiling").set_defaults(run=ceiling)
    action = actions.add_parser("tower")
    action.add_argument("--model", default="base")
    action.add_argument("--batch", type=int, nargs="+", default=[64, 128])
    action.set_defaults(run=tower)
    action = actions.add_parser("pairs")
    action.add_argument("--model", default="base")
    action.add_argument("--pairs", type=int, nargs="+", default=[20, 100])
    action.set_defaults(run=pairs)
    action = actions.add_parser("draw")
    action.add_argument("dir")
    action.add_argument("--pictures", type=int, default=2000)
    action.set_defaults(run=draw)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
