#!/usr/bin/env python3
"""Draws pictures IMG_0081 and on of samples/ and adds their captions to samples.json.

usage: album.py SAMPLES

The first 80 pictures, the copies and the sidecar were drawn with an earlier state of these scripts and are left alone.
"""
import json
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import art
import captions
import drawing
import scenes
from backgrounds import BACKGROUNDS

FIRST, SEED, LARGE = 81, 77, 384
SIZES = [(320, 320), (320, 320), (384, 288), (288, 360), (400, 300), (300, 300)]
FORMATS = {"jpg": dict(quality=88), "png": dict(optimize=True), "webp": dict(quality=86, method=6)}
CAMERAS = [("Canon", "Canon EOS R6"), ("Google", "Pixel 7"), ("NIKON CORPORATION", "NIKON Z 6_2")]
PLACES = {  # invented, like all else in the EXIF fields
    "Lisbon": (38.71, -9.14), "Vienna": (48.21, 16.37), "Kyoto": (35.01, 135.77),
}
UNSEEN = 8  # how many are drawn in the style that is never trained on

# folder, things (a colour before a name tints it), how they stand, background
PICTURES = [
    ("pets", ["dog", "couch"], "on", "room"),               # near misses of a cat on a couch
    ("pets", ["cat", "couch"], "next to", "room"),
    ("pets", ["cat", "bed"], "on", "room"),
    ("pets", ["dog"], 1, "beach"),
    ("pets", ["dog"], 2, "yellow"),
    ("pets", ["cat"], 1, "green"),
    ("pets", ["cat"], 3, "blue"),
    ("pets", ["rabbit"], 1, "snow"),
    ("pets", ["parrot", "chair"], "on", "room"),
    ("pets", ["dog", "cat"], "left of", "grass"),
    ("pets", ["fish", "dog"], "mixed", "white"),
    ("sea", ["fish"], 1, "underwater"),
    ("sea", ["fish"], 4, "underwater"),
    ("sea", ["dolphin"], 1, "lake"),
    ("sea", ["octopus"], 1, "underwater"),
    ("sea", ["crab"], 2, "beach"),
    ("sea", ["sailboat"], 1, "sunset"),
    ("sea", ["sailboat"], 2, "lake"),
    ("sea", ["whale", "ship"], "under", "lake"),
    ("garden", ["sunflower"], 1, "grass"),
    ("garden", ["red rose"], 3, "white"),
    ("garden", ["butterfly"], 2, "sky"),
    ("garden", ["butterfly", "tulip"], "above", "grass"),
    ("garden", ["bee", "sunflower"], "on", "grass"),
    ("garden", ["mushroom"], 3, "forest"),
    ("garden", ["snail"], 1, "grass"),
    ("garden", ["apple", "basket"], "on", "grass"),
    ("garden", ["strawberry"], 4, "pink"),
    ("party", ["birthday cake", "table"], "on", "room"),
    ("party", ["blue balloon"], 3, "white"),
    ("party", ["gift"], 2, "purple"),
    ("party", ["guitar", "chair"], "on", "room"),
    ("party", ["cookie", "cup of coffee", "doughnut"], "mixed", "yellow"),
    ("party", ["violin", "trumpet"], "mixed", "orange"),
    ("work", ["laptop", "table"], "on", "room"),
    ("work", ["laptop", "cup of coffee"], "mixed", "grey"),
    ("work", ["key"], 1, "red"),
    ("work", ["camera", "backpack"], "mixed", "green"),
    ("work", ["umbrella"], 1, "city"),
    ("work", ["bicycle"], 1, "city"),
]


class Album:
    """Specs by name, drawn from art of a higher resolution than that of the training pictures."""

    def __init__(self):
        self.world, self.r = scenes.World(), random.Random(SEED)
        self.number = {c["names"][0]: i for i, c in enumerate(self.world.concepts)}

    def thing(self, words):
        colour, _, rest = words.partition(" ")
        name = words if words in self.number else rest
        x = scenes.thing(self.world, self.r, self.number[name])
        x["col"] = colour if name != words else None
        return x

    def spec(self, things, how, where, unseen):
        r = self.r
        s = dict(seed=r.randrange(1 << 30), objs=[self.thing(t) for t in things], size=r.uniform(.55, .85))
        s["bg"] = ("scene" if where in BACKGROUNDS else "plain", where, False)
        if how == "mixed":
            s["kind"] = "multi"
        elif isinstance(how, str):
            s.update(kind="pair", rel=how)
        else:
            s.update(kind="single" if how == 1 else "count", n=how)
        style = r.choice(art.HELD_STYLES if unseen else self.world.styles[s["objs"][0]["c"]])
        for x in s["objs"]:
            known = style in self.world.styles[x["c"]] or unseen
            x["st"] = style if known else r.choice(self.world.styles[x["c"]])
        return s

    def enlarge(self, specs):
        """Larger sprites for what is drawn; tables, rugs and shapes are drawn small and only scaled."""
        wanted = {(x["c"], x["st"]) for s in specs for x in s["objs"]}
        large = {}
        for job in art.sprite_jobs(self.world.concepts):
            if job[0] in wanted:
                a = art.rasterise(job, LARGE)[1]
                if a is not None:
                    large.setdefault(job[0], []).append(a)
        for key in wanted - set(large):
            three = lambda a: np.asarray(Image.fromarray(a).resize((a.shape[1] * 3, a.shape[0] * 3), Image.BICUBIC))
            large[key] = [three(a) for a in self.world.sprites[key]]
        self.world.sprites = large

    def captions(self, spec):
        out = [captions.full_caption(self.world, spec)]
        must = ("rel",) if spec["kind"] == "pair" else ()
        for _ in range(40):
            t = captions.caption(self.world, spec, self.r, must)
            if len(out) < 4 and t.lower() not in [o.lower() for o in out]:
                out.append(t)
        return out


def exif(r):
    """An invented date, camera and, now and then, place."""
    e = Image.Exif()
    make, camera = r.choice(CAMERAS)
    e[0x010F], e[0x0110] = make, camera
    when = f"{r.randint(2020, 2022)}:{r.randint(1, 12):02}:{r.randint(1, 28):02} {r.randint(8, 21):02}:{r.randint(0, 59):02}:00"
    e.get_ifd(0x8769)[0x9003] = when
    if r.random() < .5:
        latitude, longitude = PLACES[r.choice(sorted(PLACES))]
        degrees = lambda x: (float(int(abs(x))), float(int(abs(x) % 1 * 60)), 0.0)
        e.get_ifd(0x8825).update({1: "N" if latitude > 0 else "S", 2: degrees(latitude),
                                  3: "E" if longitude > 0 else "W", 4: degrees(longitude)})
    return e


def main():
    folder = Path(sys.argv[1])
    album, r = Album(), random.Random(SEED + 1)
    unseen = set(random.Random(SEED + 2).sample(range(3, len(PICTURES)), UNSEEN))
    specs = [album.spec(things, how, where, i in unseen) for i, (_, things, how, where) in enumerate(PICTURES)]
    album.enlarge(specs)
    kept = json.loads((folder / "samples.json").read_text())
    for i, (spec, (place, *_)) in enumerate(zip(specs, PICTURES)):
        kind = r.choices(list(FORMATS), [.5, .15, .35])[0]
        im = drawing.draw(album.world, spec, *r.choice(SIZES), bank=False)
        name = f"{place}/IMG_{FIRST + i:04}.{kind}"
        (folder / place).mkdir(exist_ok=True)
        extra = dict(exif=exif(r)) if kind == "jpg" and r.random() < .6 else {}
        im.save(folder / name, **FORMATS[kind], **extra)
        kept[name] = dict(
            captions=album.captions(spec), objects=[album.world.name(x) for x in spec["objs"]],
            art=sorted({x["st"] if album.world.concepts[x["c"]]["emoji"] else "drawn" for x in spec["objs"]}),
            unseen_style=i in unseen)
    (folder / "samples.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
