#!/usr/bin/env python3
"""Draws the pictures and writes their captions, in parts that training can take up while the next are drawn.

usage: make_data.py [--processes N] [--scale S] [SET ...]        (without names: every set)

Reads the art from MINI_NPM (node_modules here), writes to MINI_WORK (work here):
  art.pkl                 the art as sprites
  tok/                    the tokenizer, learnt when it is not there
  SET.npy, SET.parts/     pictures [n, 128, 128, 3] for a memory map; the rest of them in parts of 500
  SET.pkl                 held-out sets, a row a picture: captions, false captions, concepts, spec
  valid/, test/           their pictures as PNG, with captions.json (and absent.txt) in the form that bt-eval reads
"""
import argparse
import json
import os
import pickle
import random
import signal
import sys
from multiprocessing import Pool

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes enough
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from PIL import Image

import art
import captions
import claims
import drawing
import scenes
import tokens

# name -> (pictures, seed, which side of the split, share of things in the style that is never trained on)
SETS = {
    "valid": (500, 231, "valid", 0.1),
    "easy": (30_000, 21, "train", 0.0),
    "train": (800_000, 31, "train", 0.0),
    "test": (1_000, 331, "test", 0.1),
    "known": (1_000, 131, "test", 0.0),
    "unseen": (1_000, 132, "test", 1.0),
}
TRUE, FALSE = 4, 3  # captions a picture
CHUNK = 500
CELL = 4            # pixels: side of a cell of the map of things
TWINS = .6          # share of the pictures that are drawn twice, the second time with one thing changed


def absent(world):
    """A quarter of the concepts is in no picture of the validation set: what an album does not show."""
    apart = world.apart
    return {i for group in world.by_kind.values() for i in group if i not in apart and art.hash1000("absent", i) < 250}


def draws(world, name, seed):
    """Endless specs for a set, each with the source of its further randomness, and a test that changed ones must pass."""
    side, unseen = SETS[name][2:]
    if name == "easy":
        make = lambda r: scenes.easy(world, r)
    else:
        make = lambda r: scenes.spec(world, r, unseen=unseen)
    missing = absent(world) if side == "valid" else set()
    keep = lambda s: world.held_out(s) == (side != "train") and not missing & {x["c"] for x in s["objs"]}
    return scenes.draws(seed, make, keep), keep


def held_out_row(world, spec, r):
    """Captions and false captions; the first caption says all that is there, so that it is true of few other pictures."""
    true = [captions.full_caption(world, spec)] + [captions.caption(world, spec, r) for _ in range(TRUE - 1)]
    return true, [(t, what) for t, what, _ in captions.negatives(world, spec, r, FALSE)], [x["c"] for x in spec["objs"]], spec


class Rows:
    """What training needs to know of pictures, as arrays."""

    def __init__(self, world, n):
        self.words, self.tokenizer = claims.Words(world), tokens.load()
        self.texts, self.claims = [], np.zeros((n, TRUE + FALSE, claims.CLAIMS), np.int16)
        self.facts = np.zeros((n, claims.FACTS), np.int16)
        self.map = np.zeros((n, art.SIDE // CELL, art.SIDE // CELL), np.uint8)
        self.twin, self.sided = np.zeros(n, bool), np.zeros(n, bool)

    def add(self, i, world, spec, r, must, twin, map):
        """`must`: what tells this picture from its twin, or (); `map`: where its things are."""
        said = [claims.Said() for _ in range(TRUE + FALSE)]
        texts = [captions.full_caption(world, spec, said[0])]
        texts += [captions.caption(world, spec, r, must if k == 1 else (), said[k]) for k in range(1, TRUE)]
        false = captions.negatives(world, spec, r, FALSE - bool(twin))
        if twin:
            false.insert(0, (captions.caption(world, twin, r, must, said[TRUE]), "", said[TRUE]))
        texts += [t for t, _, _ in false]
        self.claims[i] = [self.words.claims(s) for s in said[:TRUE] + [s for _, _, s in false]]
        self.facts[i] = self.words.facts(spec)
        things = np.concatenate([[0], self.facts[i, claims.THINGS]]).astype(np.uint8)
        self.map[i] = things[map]
        self.twin[i], self.sided[i] = bool(twin), any(" left" in t or " right" in t for t in texts)
        self.texts += texts

    def save(self, path, start):
        ids = tokens.ids_of(self.tokenizer, self.texts).reshape(len(self.facts), TRUE + FALSE, -1)
        with open(f"{path}.new", "wb") as f:
            np.savez(f, start=start, ids=ids, claims=self.claims, facts=self.facts, map=self.map, twin=self.twin, sided=self.sided)
        os.replace(f"{path}.new", path)


def with_twins(world, source, keep):
    """(spec, source of randomness, must, twin): pictures in twos, which often differ in one thing."""
    while True:
        spec, r = next(source)
        got = captions.changed(world, spec, r, keep) if r.random() < TWINS else None
        if got:
            other, must, _ = got
            other["seed"] = r.randrange(1 << 30)
        for s in (spec, other if got else next(source)[0]):
            for x in s["objs"]:
                x["changed"] = r.random() < .4
            yield s, r, must if got else (), (other if s is spec else spec) if got else None


def chunk(job):
    name, start, n, seed = job
    world = chunk.world
    pictures = np.lib.format.open_memmap(art.WORK / f"{name}.npy", mode="r+")
    source, keep = draws(world, name, seed)
    if SETS[name][2] != "train":
        out = []
        for i in range(start, start + n):
            spec, r = next(source)
            pictures[i] = np.asarray(drawing.draw(world, spec))
            out.append(held_out_row(world, spec, r))
        return start, out
    rows, source = Rows(world, n), with_twins(world, source, keep)
    for i in range(n):
        spec, r, must, twin = next(source)
        im, map = drawing.draw(world, spec, cell=CELL)
        pictures[start + i] = np.asarray(drawing.spoiled(im, r))
        rows.add(i, world, spec, r, must, twin, map)
    del pictures
    rows.save(art.WORK / f"{name}.parts" / f"{start // CHUNK:05}.npz", start)
    return start, []


def draw(name, processes, scale=1.0):
    n, seed = SETS[name][:2]
    train = SETS[name][2] == "train"
    n = max(CHUNK, int(n * scale) // CHUNK * CHUNK) if train else n
    shape, path, parts = (n, art.SIDE, art.SIDE, 3), art.WORK / f"{name}.npy", art.WORK / f"{name}.parts"
    if not (train and path.exists() and np.load(path, mmap_mode="r").shape == shape):
        parts.mkdir(exist_ok=True)
        for old in parts.iterdir():
            old.unlink()
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
    jobs = [(name, start, min(CHUNK, n - start), seed * 100_003 + start) for start in range(0, n, CHUNK)
            if not (parts / f"{start // CHUNK:05}.npz").exists()]
    rows = [None] * n
    with Pool(processes) as pool:
        for start, part in pool.imap_unordered(chunk, jobs):
            rows[start:start + len(part)] = part
    if not train:
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
    a = argparse.ArgumentParser()
    a.add_argument("sets", nargs="*", default=list(SETS))
    a.add_argument("--processes", type=int, default=2)
    a.add_argument("--scale", type=float, default=1.0, help="part of the training pictures that is drawn")
    A = a.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of the pool, which ends its processes
    world = chunk.world = scenes.World(A.processes)
    if not (tokens.FOLDER / "tokenizer.json").exists():
        tokens.learn(world)
    for name in A.sets:
        draw(name, A.processes, A.scale)
        if name in ("valid", "test"):
            unpack(name, world)
        if name == "valid":
            write_absent(world)


if __name__ == "__main__":
    main()
