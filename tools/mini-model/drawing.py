"""Draws a spec: the things on their background, placed so that the relation is really there."""
import io
import random

import numpy as np
from PIL import Image, ImageFilter

import backgrounds
from art import SIDE
from backgrounds import COLOURS

# How far down into a piece of furniture its guest sits, as a part of its height.
SEATS = {"couch": .5, "bed": .45, "chair": .55, "bathtub": .35, "rug": .45, "table": .06}
ROWS = {
    2: [[(.27, .5), (.73, .5)], [(.3, .3), (.7, .7)], [(.5, .27), (.5, .73)], [(.28, .65), (.72, .4)]],
    3: [[(.19, .5), (.5, .5), (.81, .5)], [(.5, .26), (.25, .72), (.75, .72)], [(.25, .28), (.75, .28), (.5, .74)]],
    4: [[(.27, .27), (.73, .27), (.27, .73), (.73, .73)], [(.25, .5), (.5, .22), (.75, .5), (.5, .78)]],
}
MIXED = {
    2: [[(.27, .35), (.72, .65)], [(.28, .68), (.72, .32)], [(.27, .5), (.73, .5)]],
    3: [[(.5, .26), (.26, .73), (.74, .73)], [(.26, .27), (.74, .27), (.5, .74)], [(.2, .5), (.5, .5), (.8, .5)]],
    4: [[(.27, .27), (.73, .27), (.27, .73), (.73, .73)]],
}


def tinted(a, colour):
    """The art in another colour: its lightness kept, stretched to the full range."""
    c = np.array(COLOURS[colour], np.float32)
    alpha = a[..., 3:]
    light = a[..., :3].astype(np.float32) @ np.array([.3, .59, .11], np.float32)
    inside = alpha[..., 0] > 100
    if inside.any():
        low, high = np.percentile(light[inside], [5, 95])
        light = (light - low) / max(30, high - low)
    light = light.clip(0, 1)[..., None]
    out = np.where(light < .6, c * (.45 + .55 * light / .6), c + (255 - c) * (light - .6) / .4 * .45)
    if colour == "white":
        out = 175 + 80 * light + 0 * c
    if colour == "black":
        out = 15 + 60 * light + 0 * c
    return np.concatenate([out.clip(0, 255).astype(np.uint8), alpha], -1)


class Scene:
    """One picture while it is drawn. `q`: side of the square in the middle, which a centre crop keeps."""

    def __init__(self, world, spec, w, h, r):
        self.world, self.spec, self.r = world, spec, r
        self.q = min(w, h)
        self.offset = (w - self.q) // 2, (h - self.q) // 2
        self.placed = []  # (thing, sprite, x, y), those behind first

    def sprite(self, x, size, turn=12):
        """RGBA picture of a thing whose longest side is `size` pixels."""
        r, key = self.r, (x["c"], x["st"])
        art = self.world.copies[key] if x.get("changed") and key in self.world.copies else self.world.sprites[key]
        a = art[x["k"] % len(art)]
        im = Image.fromarray(tinted(a, x["col"]) if x["col"] else a)
        k = size / max(im.size)
        im = im.resize((max(3, round(im.width * k)), max(3, round(im.height * k))),
                       Image.BICUBIC if k > .6 else Image.LANCZOS)
        if x["flip"]:
            im = im.transpose(Image.FLIP_LEFT_RIGHT)
        return im.rotate(r.uniform(-turn, turn), Image.BICUBIC, expand=True) if turn else im

    def centre(self, thing, sprite, x, y):
        self.placed.append((thing, sprite, x * self.q - sprite.width / 2, y * self.q - sprite.height / 2))

    def one(self):
        r, spec = self.r, self.spec
        size = spec["size"]
        s = self.sprite(spec["objs"][0], size * self.q, r.choice([0, 0, 6] if spec.get("easy") else [0, 10, 10, 25]))
        margin = size / 2 * .92
        if spec.get("easy"):
            margin = .5 - (.5 - margin) * .35
        self.centre(spec["objs"][0], s, r.uniform(margin, 1 - margin), r.uniform(margin, 1 - margin))

    def several(self):
        r, n, thing = self.r, self.spec["n"], self.spec["objs"][0]
        size = {2: .44, 3: .36, 4: .34}[n] * r.uniform(.85, 1.08)
        for x, y in r.choice(ROWS[n]):
            s = self.sprite(thing, size * self.q * r.uniform(.92, 1.05))
            self.centre(thing, s, x + r.uniform(-.04, .04), y + r.uniform(-.05, .05))

    def mixed(self):
        r, things = self.r, self.spec["objs"]
        size = {2: .44, 3: .38, 4: .36}[len(things)]
        places = r.choice(MIXED[len(things)])[:]
        r.shuffle(places)
        for thing, (x, y) in zip(things, places):
            s = self.sprite(thing, size * self.q * r.uniform(.82, 1.08))
            self.centre(thing, s, x + r.uniform(-.03, .03), y + r.uniform(-.03, .03))

    def stacked(self, upper, lower, gap):
        """One over the other: sitting on it when there is no gap."""
        r, q = self.r, self.q
        wide, small = r.uniform(.5, .68) * q, r.uniform(.34, .48) * q
        below, above = self.sprite(lower, wide, 4), self.sprite(upper, small, 6)
        seat = SEATS.get(self.world.name(lower), .08) if gap == 0 else 0
        total = above.height + below.height * (1 - seat) + gap * q
        top, middle = max(0, (q - total) * r.uniform(.25, .75)), q * r.uniform(.42, .58)
        y = top + above.height + gap * q - below.height * seat
        aside = r.uniform(-.15, .15) * below.width
        self.placed += [(lower, below, middle - below.width / 2, y), (upper, above, middle - above.width / 2 + aside, top)]

    def under(self, a, b):
        r, q = self.r, self.q
        if self.world.name(b) != "table":
            return self.stacked(b, a, r.uniform(.02, .08))
        over, below = self.sprite(b, r.uniform(.6, .78) * q, 3), self.sprite(a, r.uniform(.28, .38) * q, 5)
        middle, y = q * r.uniform(.45, .55), q * r.uniform(.2, .4)
        self.placed.append((b, over, middle - over.width / 2, y))
        floor = y + max(over.height * .3, over.height - below.height)
        self.placed.append((a, below, middle - below.width / 2 + r.uniform(-.06, .06) * q, floor))

    def side_by_side(self, a, b, relation):
        r, q = self.r, self.q
        sizes = r.uniform(.36, .5), r.uniform(.36, .5)
        at = r.uniform(.22, .29), r.uniform(.71, .78)
        if relation == "right of" or relation == "next to" and r.random() < .5:
            at = at[::-1]
        floor = r.uniform(.62, .85) if r.random() < .6 else None
        for thing, size, x in zip((a, b), sizes, at):
            s = self.sprite(thing, size * q, 8)
            y = floor - s.height / q / 2 if floor else r.uniform(.35, .65)
            self.centre(thing, s, x, max(y, .2))

    def overlapping(self, front, back):
        r, q = self.r, self.q
        far, near = self.sprite(back, r.uniform(.6, .75) * q, 5), self.sprite(front, r.uniform(.38, .48) * q, 6)
        x, y = r.uniform(.42, .58), r.uniform(.38, .46)
        self.centre(back, far, x, y)
        self.centre(front, near, x + r.choice([-1, 1]) * r.uniform(.06, .2),
                    min(.95 - near.height / q / 2, y + r.uniform(.2, .28)))

    def pair(self):
        (a, b), relation = self.spec["objs"], self.spec["rel"]
        if relation == "on":
            self.stacked(a, b, 0)
        elif relation == "above":
            self.stacked(a, b, self.r.uniform(.05, .12))
        elif relation == "under":
            self.under(a, b)
        elif relation in ("next to", "left of", "right of"):
            self.side_by_side(a, b, relation)
        elif relation == "in front of":
            self.overlapping(a, b)
        else:
            self.overlapping(b, a)

    def onto(self, im):
        shadow = self.r.random() < .15
        for _, s, x, y in self.placed:
            x, y = int(round(x + self.offset[0])), int(round(y + self.offset[1]))
            if shadow:
                dark = Image.new("RGBA", s.size, (0, 0, 0, 0))
                dark.putalpha(s.getchannel("A").point(lambda v: int(v * .3)))
                by = max(2, self.q // 40)
                im.paste(dark, (x + by, y + by), dark)
            im.paste(s, (x, y), s)
        return im

    def map(self, w, h, cell):
        """Which thing of the spec, from 1 on, is seen in each cell; 0 is the background."""
        im = Image.new("L", (w, h), 0)
        for thing, s, x, y in self.placed:
            number = next(i for i, known in enumerate(self.spec["objs"], 1) if known is thing)
            place = int(round(x + self.offset[0])), int(round(y + self.offset[1]))
            im.paste(number, place, s.getchannel("A").point(lambda v: 255 * (v > 127)))
        return np.asarray(im)[cell // 2::cell, cell // 2::cell]


def draw(world, spec, w=SIDE, h=SIDE, bank=True, cell=0):
    """The picture of a spec; the same spec gives the same picture but for the banked backgrounds. With `cell`, the side of
    a cell in pixels, also the map of its things."""
    r = random.Random(spec["seed"])
    im = backgrounds.draw(spec["bg"], w, h, r, bank).convert("RGB")
    s = Scene(world, spec, w, h, r)
    {"single": s.one, "count": s.several, "pair": s.pair, "multi": s.mixed}[spec["kind"]]()
    return (s.onto(im), s.map(w, h, cell)) if cell else s.onto(im)


def spoiled(im, r):
    """What happens to pictures on their way: blur, a small copy made large, JPEG, other light."""
    x = r.random()
    if x < .12:
        im = im.filter(ImageFilter.GaussianBlur(r.uniform(.4, 1.1)))
    elif x < .22:
        k, size = r.uniform(.5, .8), im.size
        im = im.resize((int(im.width * k), int(im.height * k)), Image.BILINEAR).resize(size, Image.BICUBIC)
    if r.random() < .15:
        b = io.BytesIO()
        im.save(b, "JPEG", quality=r.randint(25, 75))
        im = Image.open(b).convert("RGB")
    if r.random() < .2:
        k, c = r.uniform(.8, 1.2), r.uniform(-15, 15)
        im = im.point(lambda v: max(0, min(255, (v - 128) * k + 128 + c)))
    return im
