"""What a caption claims and what a picture shows, as numbers; which claims a picture bears out. No words and no pixels.

A claim is true of a picture, false, or neither: "a tree" is true of no forest background, and not false either.
"""
import re

import numpy as np
import torch

import kinds
import scenes
from backgrounds import BACKGROUNDS, CAN_BE_NIGHT, COLOURS, TEXTURES

# Columns of a caption's row: up to four names with their colours, in the order of mention; 0 where nothing is said.
NAMES, TINTS, PLACE, NUMBER, RELATION, EXACT, CLAIMS = slice(0, 4), slice(4, 8), 8, 9, 10, 11, 12
# Columns of a picture's row: up to four things with their colours; where; how many of the thing; first to second thing.
THINGS, COLOURED, WHERE, MANY, RELATED, FACTS = slice(0, 4), slice(4, 8), 8, 9, 10, 11
SINGULAR, SEVERAL = -1, -2  # numbers that are only hinted at

PLACES = [("scene", k, False) for k in BACKGROUNDS] + [("scene", k, True) for k in CAN_BE_NIGHT]
PLACES += [("plain", k, False) for k in COLOURS] + [("texture", k, False) for k in TEXTURES] + [("noise", "", False)]
PLACE_NUMBER = {p: i + 1 for i, p in enumerate(PLACES)}
COLOUR_NUMBER = {c: i + 1 for i, c in enumerate(COLOURS)}
RELATION_NUMBER = {x: i + 1 for i, x in enumerate(scenes.RELATIONS)}

ALIKE_BACKGROUNDS = [
    {"lake", "underwater"}, {"night", "space"}, {"sky", "blue"}, {"snow", "white"}, {"night", "black"},
    {"space", "black"}, {"beach", "desert"}, {"beach", "lake"}, {"grass", "mountains"},
]
# relation of the picture -> what may be said of it as well
ALIKE_RELATIONS = {
    "on": ["above", "on"], "above": ["on", "above"], "under": ["under"], "next to": ["next to", "left of", "right of"],
    "left of": ["left of", "next to"], "right of": ["right of", "next to"],
    "in front of": ["in front of", "on", "under", "above", "next to"],
    "behind": ["behind", "on", "under", "above", "next to"],
}
SEEN_FROM_THE_OTHER = {
    "on": "under", "under": "above", "above": "under", "next to": "next to", "left of": "right of",
    "right of": "left of", "in front of": "behind", "behind": "in front of",
}
# name -> things that some would call so: no example for the name, and none against it
LOOSE = {
    "flower": ["sunflower", "tulip", "potted plant"], "pink flower": ["rose", "tulip"], "red flower": ["tulip"],
    "bird": ["dove", "eagle", "duck", "swan", "owl", "flamingo", "parrot", "chicken", "penguin"],
    "little bird": ["dove", "parrot"], "fish": ["shark"], "boat": ["sailboat", "canoe"], "ship": ["sailboat"],
    "computer": ["laptop"], "phone": ["telephone"], "telephone": ["mobile phone"], "clock": ["watch"], "watch": ["alarm clock"],
    "bag": ["backpack", "suitcase"], "car": ["taxi"], "automobile": ["taxi", "police car"], "box": ["gift"], "package": ["gift"],
    "man": ["police officer", "santa claus", "astronaut", "surfer", "skier", "boy"], "guy": ["police officer", "boy"],
    "woman": ["girl"], "lady": ["girl"], "kid": ["baby"], "boy": ["baby"], "girl": ["baby", "woman"], "infant": [],
    "planet": ["globe"], "bear": ["panda"], "brown bear": ["teddy bear"], "tree": ["cherry blossom"], "bread": ["sandwich"],
    "cup": ["cup of coffee", "mug of beer"], "book": ["stack of books"], "books": ["open book", "red book"],
    "home": ["castle"], "cake": [], "sheep": ["goat"], "truck": ["tractor"], "lorry": ["fire truck"], "moon": ["planet saturn"],
    "full moon": ["crescent moon"], "crescent moon": ["full moon"], "plant": ["cactus"], "circle": ["full moon", "football"],
}
NOT_LOOSE = {("dog", "hot dog"), ("sun", "sunflower")}
# thing -> its colour where the art is as it comes: those that a name of theirs says. One style has others: a blue car.
OTHER_COLOURS = "noto-v1"
OWN_COLOUR = {
    "bear": "brown", "polar bear": "white", "cherry blossom": "pink", "rose": "red", "apple": "red", "taxi": "yellow",
    "car": "red", "star": "yellow", "red book": "red", "heart": "red",
}
# background -> things that stand in it although they are none of the picture's things
STANDING_THERE = {
    "forest": ["tree", "pine tree"], "city": ["house", "window", "hospital", "school", "factory"], "sky": ["cloud"],
    "night": ["star", "crescent moon", "full moon"], "space": ["star", "planet saturn", "globe"], "sunset": ["sun"],
    "grass": ["cloud"], "beach": ["cloud"], "mountains": ["cloud"], "lake": ["cloud"], "room": ["window", "door"],
    "dots": ["circle"], "checker": ["square"], "snow": ["star"], "underwater": ["circle"],
}


class Said:
    """Takes down what a caption claims while it is put together."""

    def __init__(self):
        self.things, self.place, self.number, self.relation, self.exact = [], None, SINGULAR, None, True

    def thing(self, name, colour=None):
        self.things.append((name, colour or next((c for c in COLOURS if c in name.split()[:-1]), None)))


class Words:
    """Numbers for concepts, their names and the words for kinds of them, and which of these fits which concept."""

    def __init__(self, world):
        self.taught = sorted(i for group in world.by_kind.values() for i in group)
        self.concept = {c: i for i, c in enumerate(self.taught)}
        self.own = [world.concepts[c]["names"] for c in self.taught]
        self.names = sorted({n for own in self.own for n in own} | {self.plain(own[0]) for own in self.own})
        self.kinds = kinds.read({own[0] for own in self.own})
        self.kind = {word: kind for kind in self.kinds for word in kind.words}
        # last, so that sets that were drawn before there were kinds have the same numbers
        self.names += [word for word in self.kind if word not in self.names]
        self.number = {n: i + 1 for i, n in enumerate(self.names)}

    @staticmethod
    def plain(name):
        return re.sub(r"\b(" + "|".join(COLOURS) + r") ", "", name)

    def claims(self, said):
        row = np.zeros(CLAIMS, np.int16)
        for k, (name, colour) in enumerate(said.things[:4]):
            row[k], row[4 + k] = self.number[name], COLOUR_NUMBER.get(colour, 0)
        row[PLACE] = PLACE_NUMBER.get(said.place, 0)
        row[NUMBER] = said.number
        row[RELATION] = RELATION_NUMBER.get(said.relation, 0)
        row[EXACT] = said.exact
        return row

    def facts(self, spec):
        row = np.zeros(FACTS, np.int16)
        for k, x in enumerate(spec["objs"][:4]):
            c = self.concept[x["c"]]
            own = None if x["st"] == OTHER_COLOURS else OWN_COLOUR.get(self.own[c][0])
            row[k], row[4 + k] = c + 1, COLOUR_NUMBER.get(x["col"] or own, 0)
        row[WHERE] = PLACE_NUMBER[place(spec["bg"])]
        row[MANY] = spec["n"] if spec["kind"] == "count" else 1
        row[RELATED] = RELATION_NUMBER.get(spec.get("rel"), 0)
        return row

    def fits(self):
        """[names + 1, concepts + 1]: 1 the name is right, 0 who knows, -1 it is wrong"""
        out = np.full((len(self.names) + 1, len(self.taught) + 1), -1, np.int8)
        nothing = kinds.Kind([], set(), set())
        for n, name in enumerate(self.names, 1):
            kind = self.kind.get(name, nothing)
            for c, own in enumerate(self.own, 1):
                first = own[0]
                if name in own or name == self.plain(first) or first in kind.things:
                    out[n, c] = 1
                elif first in kind.unsure or (name, first) not in NOT_LOOSE and (
                        first in LOOSE.get(name, ()) or set(name.split()) < set(first.split())):
                    out[n, c] = 0
        return out

    def may_stand(self):
        """[names + 1, places + 1]: whether a thing of this name may be part of the background"""
        out = np.zeros((len(self.names) + 1, len(PLACES) + 1), bool)
        fits, first = self.fits(), {own[0]: c for c, own in enumerate(self.own, 1)}
        for p, (_, which, night) in enumerate(PLACES, 1):
            for thing in STANDING_THERE.get(which, []) + (STANDING_THERE["night"] if night else []):
                out[:, p] |= fits[:, first[thing]] >= 0
        return out


def place(background):
    kind, which, night = background
    return "plain" if kind == "gradient" else kind, which, bool(night)


def place_fits():
    """[places + 1, places + 1]: claimed place against the place of the picture, as in Words.fits"""
    n = len(PLACES) + 1
    out = np.full((n, n), -1, np.int8)
    out[0] = 1
    for i, (kind, which, night) in enumerate(PLACES, 1):
        for j, (other, there, dark) in enumerate(PLACES, 1):
            if i == j:
                out[i, j] = 1
            elif kind == other == "scene" and (which == there and not night or which == "night" and dark or there == "night" and night):
                out[i, j] = 0
            elif {which, there} in ALIKE_BACKGROUNDS or kind == "plain" and other in ("texture", "noise"):
                out[i, j] = 0
    return out


def relation_fits():
    """two times [claimed, picture's], both from 1 on: the things in the picture's order, and the other way round"""
    k = len(scenes.RELATIONS) + 1
    same, turned = np.full((k, k), -1, np.int8), np.full((k, k), -1, np.int8)
    for j, there in enumerate(scenes.RELATIONS, 1):
        for table, seen in ((same, there), (turned, SEEN_FROM_THE_OTHER[there])):
            for i, claimed in enumerate(scenes.RELATIONS, 1):
                if claimed in ALIKE_RELATIONS[seen]:
                    table[i, j] = int(claimed == seen)
    return same, turned


class Judge:
    """Rows of claims against rows of facts, on one device."""

    def __init__(self, words, device):
        to = lambda a: torch.from_numpy(np.ascontiguousarray(a)).to(device)
        self.kind = torch.float16 if device.type == "cuda" else torch.float32
        self.fits, self.stands, self.places = to(words.fits()), to(words.may_stand()), to(place_fits())
        self.same, self.turned = map(to, relation_fits())
        self.concepts, self.colours = len(words.taught) + 1, len(COLOURS) + 1
        colours = torch.eye(self.colours, device=device)
        colours[0] = 1
        self.right_colour = colours.to(self.kind)        # [claimed, picture's]
        self.no_other = colours.clone().to(self.kind)
        self.no_other[:, 0] = 1                           # as the art has it: may be any

    def __call__(self, claims, facts):
        """claims [t, CLAIMS], facts [p, FACTS] -> (true, false), bool [t, p]"""
        claims, facts = claims.long(), facts.long()
        t, p = len(claims), len(facts)
        cells = facts[:, THINGS] * self.colours + facts[:, COLOURED]
        shown = torch.zeros(p, self.concepts * self.colours, dtype=self.kind, device=facts.device)
        shown.scatter_(1, cells, 1).view(p, self.concepts, self.colours)[:, 0] = 0
        shown = shown.t()
        true = (claims[:, EXACT] > 0)[:, None].expand(t, p)
        false = torch.zeros(t, p, dtype=torch.bool, device=facts.device)
        for k in range(4):
            name, colour = claims[:, k], claims[:, 4 + k]
            silent = (name == 0)[:, None]
            fits = self.fits[name]
            cell = lambda fit, table: (fit.to(self.kind)[:, :, None] * table[colour][:, None, :]).flatten(1)
            true = true & (silent | (cell(fits > 0, self.right_colour) @ shown > 0))
            may = (cell(fits >= 0, self.no_other) @ shown > 0) | self.stands[name][:, facts[:, WHERE]]
            false = false | ~(silent | may)
        place = self.places[claims[:, PLACE]][:, facts[:, WHERE]]
        number, many = claims[:, NUMBER][:, None], facts[:, MANY][None]
        equal = torch.where(number == SINGULAR, many == 1, torch.where(number == SEVERAL, many > 1, number == many)) | (number == 0)
        relation = self.related(claims, facts)
        true = true & (place > 0) & equal & (relation > 0)
        false = false | (place < 0) | ~(equal | (number == SINGULAR)) | (relation < 0)
        return true, false & ~true

    def related(self, claims, facts):
        said, there = claims[:, RELATION], facts[:, RELATED]
        one, two = self.fits[claims[:, 0]], self.fits[claims[:, 1]]
        fit = lambda a, b: torch.minimum(a[:, facts[:, 0]], b[:, facts[:, 1]])
        same = torch.minimum(fit(one, two), self.same[said][:, there])
        turned = torch.minimum(fit(two, one), self.turned[said][:, there])
        out = torch.maximum(same, turned)
        out = torch.where((there == 0)[None], torch.zeros_like(out), out)  # drawn without a relation: who knows
        return torch.where((said == 0)[:, None], torch.ones_like(out), out)
