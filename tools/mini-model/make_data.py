#!/usr/bin/env python3
"""Draws the pictures, writes their captions, and learns the tokenizer from them.

usage: make_data.py [SET ...]        (without names: every set, and the tokenizer)

Reads the art from MINI_NPM (node_modules here), writes to MINI_WORK (work here):
  art.pkl                 the art as sprites
  SET.npy, SET.pkl        pictures [n, 128, 128, 3] for a memory map; a row each: captions, false captions, concepts, spec
  valid/, test/           the same pictures as PNG, with captions.json (and absent.txt) in the form that bt-eval reads
  tok/                    the tokenizer
"""
import json
import pickle
import random
import sys
from multiprocessing import Pool

import numpy as np
from PIL import Image

import art
import captions
import drawing
import scenes
import tokens

# name -> (pictures, seed, which side of the split, share of things in the style that is never trained on)
SETS = {
    "easy": (25_000, 21, "train", 0.0),
    "train": (130_000, 31, "train", 0.0),
    "valid": (500, 231, "valid", 0.1),
    "test": (1_000, 331, "test", 0.1),
    "known": (1_000, 131, "test", 0.0),
    "unseen": (1_000, 132, "test", 1.0),
}
TRUE, FALSE = 4, 3  # captions a picture
CHUNK = 250


def absent(world):
    """A quarter of the concepts is in no picture of the validation set: what an album does not show."""
    apart = world.apart
    return {i for group in world.by_kind.values() for i in group if i not in apart and art.hash1000("absent", i) < 250}


def specs(world, name, seed):
    """Endless specs for a set, each with the source of its further randomness."""
    side, unseen = SETS[name][2:]
    if name == "easy":
        make = lambda r: scenes.easy(world, r)
    else:
        make = lambda r: scenes.spec(world, r, unseen=unseen)
    missing = absent(world) if side == "valid" else set()
    keep = lambda s: world.held_out(s) == (side != "train") and not missing & {x["c"] for x in s["objs"]}
    return scenes.draws(seed, make, keep)


def chunk(job):
    name, start, n, seed = job
    world = chunk.world
    pictures = np.lib.format.open_memmap(art.WORK / f"{name}.npy", mode="r+")
    rows = []
    source = specs(world, name, seed)
    for i in range(n):
        spec, r = next(source)
        training = SETS[name][2] == "train"
        if training:
            for x in spec["objs"]:
                x["changed"] = r.random() < .4
        im = drawing.draw(world, spec)
        pictures[start + i] = np.asarray(drawing.spoiled(im, r) if training else im)
        true = [captions.caption(world, spec, r) for _ in range(TRUE)]
        if not training:  # the first one says all that is there, so that it is true of few other pictures
            true[0] = captions.full_caption(world, spec)
        rows.append((true, captions.negatives(world, spec, r, FALSE), [x["c"] for x in spec["objs"]], spec))
    return start, rows


def draw(name, processes=2):
    n, seed = SETS[name][:2]
    shape = (n, art.SIDE, art.SIDE, 3)
    np.lib.format.open_memmap(art.WORK / f"{name}.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
    chunk.world = scenes.World()
    jobs = [(name, start, min(CHUNK, n - start), seed * 100_003 + start) for start in range(0, n, CHUNK)]
    rows = [None] * n
    with Pool(processes) as pool:
        for start, part in pool.imap_unordered(chunk, jobs):
            rows[start:start + len(part)] = part
    with open(art.WORK / f"{name}.pkl", "wb") as f:
        pickle.dump(rows, f, protocol=4)
    print(name, n, "pictures", flush=True)


def read(name):
    with open(art.WORK / f"{name}.pkl", "rb") as f:
        return np.load(art.WORK / f"{name}.npy", mmap_mode="r"), pickle.load(f)


def unpack(name, world):
    """PNG files and captions, for the project's own bt-eval."""
    folder = art.WORK / name
    folder.mkdir(exist_ok=True)
    album = {}
    for i, (a, row) in enumerate(zip(*read(name))):
        Image.fromarray(a).save(folder / f"{i:04}.png")
        album[f"{i:04}.png"] = dict(captions=row[0], objects=[world.name(x) for x in row[3]["objs"]])
    (folder / "captions.json").write_text(json.dumps(album, indent=1) + "\n")


def write_absent(world, name="valid", n=250):
    """Queries that no picture of the set answers: names of things that are missing in it, and scenes with them."""
    shown = {word for row in read(name)[1] for c in row[2] for word in world.concepts[c]["names"]}
    missing = [c for c in sorted(absent(world)) if not shown & set(world.concepts[c]["names"])]
    r = random.Random(5)
    lines = ["# Things that no picture of the set shows, and scenes with them."]
    lines += [world.concepts[c]["names"][0] for c in missing]
    while len(lines) <= n:
        things = [scenes.thing(world, r, r.choice(missing))]
        lines.append(captions.caption(world, dict(kind="single", objs=things, bg=scenes.background(r)), r))
    (art.WORK / name / "absent.txt").write_text("\n".join(lines) + "\n")


def main():
    names = sys.argv[1:] or list(SETS)
    world = scenes.World()
    for name in names:
        draw(name)
        if name in ("valid", "test"):
            unpack(name, world)
        if name == "valid":
            write_absent(world)
    if not sys.argv[1:]:
        tokens.learn()


if __name__ == "__main__":
    main()
