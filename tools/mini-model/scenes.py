"""What is in a picture, as data (a spec), and which specs belong to the held-out side."""
import random

import numpy as np

import art
from backgrounds import BACKGROUNDS, CAN_BE_NIGHT, COLOURS, TEXTURES

RELATIONS = ["on", "under", "next to", "left of", "right of", "above", "in front of", "behind"]
# Things that others stand on although they are no furniture.
ALSO_SUPPORTS = (
    "cardboard box", "suitcase", "car", "truck", "bus", "horse", "elephant", "stack of books", "ship", "skateboard",
    "basket", "wrapped gift", "house", "television", "bucket",
)
# Never together in training, so that "a cat on a couch" can only be found by knowing cats and couches.
KEPT_APART = {"cat", "couch"}


class World:
    """The concepts that are taught, how often each is drawn, and the art."""

    def __init__(self, processes=2):
        self.concepts, self.sprites, self.copies = art.load(processes)
        taught = art.common(self.concepts)
        names = [c["names"][0] for c in self.concepts]
        self.kind = ["".join(k for k in c["kinds"] if k != "t") for c in self.concepts]
        self.tintable = ["t" in c["kinds"] for c in self.concepts]
        self.is_shape = [c["kinds"] == "ots" for c in self.concepts]
        weight = {"a": 1.25, "f": 1.0, "v": 1.15, "b": .8, "o": .9, "n": .9, "w": .7, "p": .9, "s": 1.6}
        often = ("cat", "dog", "car", "couch", "table")
        weights = [weight[k[0]] * (1.6 if n in often else 1) if i in taught else 0
                   for i, (k, n) in enumerate(zip(self.kind, names))]
        self.cumulated = np.cumsum(np.array(weights) / sum(weights))
        self.by_kind = {}
        for i in sorted(taught):
            self.by_kind.setdefault(self.kind[i][0], []).append(i)
        self.supports = [i for i, k in enumerate(self.kind) if k[0] == "s"]
        self.supports += [i for i, n in enumerate(names) if n in ALSO_SUPPORTS]
        self.apart = {i for i, n in enumerate(names) if n in KEPT_APART}
        self.styles = [[s for s in art.TRAIN_STYLES if (i, s) in self.sprites] for i in range(len(names))]

    def pick(self, r):
        return int(np.searchsorted(self.cumulated, r.random()))

    def name(self, thing):
        return self.concepts[thing["c"]]["names"][0]

    def held_out(self, spec):
        """Whether this combination (a thing with its background, or a set of things) is kept for testing: a tenth are."""
        things = {x["c"] for x in spec["objs"]}
        if things == self.apart:
            return True
        if len(spec["objs"]) == 1:
            return art.hash1000("s", spec["objs"][0]["c"], *spec["bg"][:2]) < 100
        return art.hash1000("p", *sorted(x["c"] for x in spec["objs"])) < 100


def background(r, plain=.45):
    """(kind, which, at night)"""
    x = r.random()
    if x < plain:
        return "plain", r.choice(list(COLOURS)), False
    if x < plain + .07:
        return "gradient", r.choice(list(COLOURS)), False
    if x < plain + .12:
        return "texture", r.choice(list(TEXTURES)), False
    if x < plain + .15:
        return "noise", "", False
    scene = r.choice(list(BACKGROUNDS))
    return "scene", scene, scene in CAN_BE_NIGHT and r.random() < .25


def thing(world, r, c=None):
    """One concept with its colour (None: as the art has it), turn and variant."""
    c = world.pick(r) if c is None else c
    colour = None
    if world.is_shape[c] or r.random() < (.45 if world.tintable[c] else .03):
        colour = r.choice(list(COLOURS))
    return dict(c=c, col=colour, st=None, flip=r.random() < .5 and world.kind[c] not in ("o", "s"), k=r.randrange(64))


def one(world, r):
    return dict(objs=[thing(world, r)], bg=background(r), size=r.uniform(.38, .96))


def several(world, r):
    return dict(objs=[thing(world, r)], n=r.choice([2, 2, 3, 3, 4]), bg=background(r, .5))


def pair(world, r):
    relation = r.choices(RELATIONS, [3, 1.2, 2, 1.2, 1.2, 1, 1.2, .8])[0]
    a = world.pick(r)
    if relation in ("on", "under") and r.random() < .7:  # something small on something that carries
        while world.kind[a][0] in "sbw":
            a = world.pick(r)
        b = r.choice(world.supports)
    else:
        b = world.pick(r)
    while b == a:
        b = world.pick(r)
    return dict(objs=[thing(world, r, a), thing(world, r, b)], rel=relation, bg=background(r, .55))


def mixed(world, r):
    chosen = []
    while len(chosen) < r.choice([2, 3, 3, 4]):
        c = world.pick(r)
        if c not in chosen:
            chosen.append(c)
    return dict(objs=[thing(world, r, c) for c in chosen], bg=background(r, .6))


MAKERS = {"single": one, "count": several, "pair": pair, "multi": mixed}


def spec(world, r, kind=None, unseen=0.0):
    """A random scene; `unseen`: share of things drawn in a style that is never trained on."""
    kind = kind or r.choices(list(MAKERS), [.46, .12, .33, .09])[0]
    s = dict(kind=kind, seed=r.randrange(1 << 30))
    s.update(MAKERS[kind](world, r))
    one_style, style = r.random() < .6, None
    for x in s["objs"]:
        choice = world.styles[x["c"]]
        if unseen and r.random() < unseen:
            x["st"] = r.choice(art.HELD_STYLES)
        elif one_style and style in choice:
            x["st"] = style
        else:
            x["st"] = style = r.choices(choice, [art.STYLE_WEIGHTS[c] for c in choice])[0]
    return s


def easy(world, r):
    """One large thing near the middle, mostly on a plain background: what the picture tower starts with."""
    s = spec(world, r, "single")
    s["size"], s["easy"] = r.uniform(.55, .95), True
    if r.random() < .5:
        s["bg"] = background(r, .8)
    return s


def draws(seed, make, keep):
    """Endless specs of one side of the split."""
    r = random.Random(seed)
    while True:
        s = make(r)
        if keep(s):
            yield s, r
