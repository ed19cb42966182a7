"""Captions by templates, and captions that are false in one thing."""
import copy
import re

from backgrounds import BACKGROUNDS, COLOURS, TEXTURES
import scenes

COLOUR_NAMES = {"grey": ["grey", "gray"], "purple": ["purple", "violet"]}
SHORT_SCENES = {
    "sky": ["sky"], "grass": ["grass", "field", "meadow"], "beach": ["beach", "sand"], "snow": ["snow", "winter"],
    "underwater": ["underwater", "sea"], "room": ["room", "indoors"], "desert": ["desert"], "mountains": ["mountains"],
    "forest": ["forest", "woods"], "city": ["city", "street"], "sunset": ["sunset"], "night": ["night", "stars"],
    "space": ["space"], "lake": ["water", "lake"],
}
PLURAL_ALREADY = {
    "grapes", "cherries", "blueberries", "peanuts", "pancakes", "french fries", "fries", "chips", "glasses",
    "eyeglasses", "spectacles", "sunglasses", "goggles", "jeans", "trousers", "pants", "gloves", "socks", "shorts",
    "headphones", "books", "banknotes", "dollar bills", "scissors", "crossed swords", "swords", "skis", "scales", "lips",
    "bowling pins", "bowling ball and pins",
}
MASS = {
    "bread", "toast", "cheese", "meat", "bacon", "popcorn", "butter", "rice", "spaghetti", "pasta", "sushi", "ice cream",
    "chocolate", "milk", "coffee", "wine", "beer", "red wine", "maize", "corn", "money", "yarn", "wool", "thread", "soap",
    "toilet paper", "cutlery", "planet earth", "earth", "saturn", "planet saturn", "santa claus", "father christmas",
    "stew", "ramen", "noodle soup", "garlic", "broccoli", "poop", "dynamite", "shaved ice", "fire", "salad", "hair",
    "fork and knife", "bow and arrow", "nut and bolt", "luggage", "paella", "thumbs up", "cake", "face in love",
}
IRREGULAR = {
    "mouse": "mice", "sheep": "sheep", "fish": "fish", "deer": "deer", "man": "men", "woman": "women", "knife": "knives",
    "leaf": "leaves", "wolf": "wolves", "goose": "geese", "tooth": "teeth", "ox": "oxen", "lady": "ladies",
    "bison": "bison", "moose": "moose", "squid": "squid", "shrimp": "shrimp", "policeman": "policemen",
    "fireman": "firemen", "infantry": "infantry", "child": "children", "dice": "dice", "elk": "elk", "bus": "buses",
    "aircraft": "aircraft", "swine": "swine", "person": "people", "foot": "feet",
}
ES_AFTER_O = ("tomato", "potato", "mango", "volcano", "tornado", "mosquito", "buffalo")
NUMBERS = {2: ["two", "two", "two", "2", "a pair of"], 3: ["three", "three", "3"], 4: ["four", "four", "4"]}
RELATION_WORDS = {
    "on": ["on", "on", "on top of", "sitting on"], "under": ["under", "below", "underneath", "beneath"],
    "next to": ["next to", "beside", "by", "near"], "left of": ["to the left of", "left of", "on the left of"],
    "right of": ["to the right of", "right of", "on the right of"], "above": ["above", "over"],
    "in front of": ["in front of"], "behind": ["behind", "in back of"],
}
SEEN_FROM_THE_OTHER = {
    "on": "under", "under": "above", "above": "under", "next to": "next to", "left of": "right of",
    "right of": "left of", "in front of": "behind", "behind": "in front of",
}
OPENINGS = [
    "a photo of ", "a picture of ", "an image of ", "a drawing of ", "an illustration of ", "clip art of ", "photo of ",
    "picture of ", "this is ", "there is ", "we see ", "a view of ", "a cartoon of ",
]
POSTURES = ["sitting", "standing", "resting", "lying", "playing"]
ON_POSTURES = ["sitting on", "lying on", "standing on", "sleeping on"]
ON_COLOUR = [
    "on {a} {c} background", "against {a} {c} background", "on {c}", "with {a} {c} background", "in front of {a} {c} wall",
]


def plural(name):
    if name in PLURAL_ALREADY or name in MASS:
        return name
    m = re.match(r"^(\w+) (of|with|in|on|riding|running|surfing|swimming|dancing) (.*)$", name)
    if m:
        return plural(m.group(1)) + " " + m.group(2) + " " + m.group(3)
    *before, w = name.split(" ")
    if w in IRREGULAR:
        w = IRREGULAR[w]
    elif re.search(r"(s|x|z|ch|sh)$", w):
        w += "es"
    elif re.search(r"[^aeiou]y$", w):
        w = w[:-1] + "ies"
    elif w in ES_AFTER_O:
        w += "es"
    else:
        w += "s"
    return " ".join(before + [w])


def article(word):
    if re.match(r"^(uni|ufo|one|euro|use)", word):
        return "a"
    return "an" if word[0] in "aeiou" else "a"


def with_article(phrase, noun):
    return phrase if noun in MASS or noun in PLURAL_ALREADY else article(phrase) + " " + phrase


def colour_word(colour, r):
    return r.choice(COLOUR_NAMES.get(colour, [colour]))


def name(world, x, r):
    """The thing's name or a synonym; none that says another colour than it has."""
    names = world.concepts[x["c"]]["names"]
    chosen = names[0] if len(names) == 1 or r.random() < .55 else r.choice(names[1:])
    if x["col"]:
        without = [n for n in names if not any(c in n.split() for c in COLOURS) and n not in MASS]
        without = without or [re.sub(r"\b(" + "|".join(COLOURS) + r") ", "", names[0])]
        chosen = without[0] if r.random() < .6 else r.choice(without)
    return chosen


def noun_phrase(world, x, r, colour=False, size=None):
    noun = name(world, x, r)
    adjectives = ""
    if x["col"] and (colour or r.random() < .8):
        adjectives = colour_word(x["col"], r) + " "
    if size and not colour and r.random() < .15:
        if size < .5:
            adjectives = r.choice(["small ", "little ", "tiny "]) + adjectives
        elif size > .8:
            adjectives = r.choice(["big ", "large ", "huge "]) + adjectives
    phrase = adjectives + noun
    form = r.choices(["a", "the", ""], [.75, .08, .17])[0]
    if form == "a":
        return with_article(phrase, noun)
    return "the " + phrase if form == "the" else phrase


def background_phrase(spec, r):
    kind, which, night = spec["bg"]
    if kind in ("plain", "gradient"):
        c = colour_word(which, r)
        return r.choice(ON_COLOUR).format(c=c, a=article(c))
    if kind == "texture":
        return r.choice(TEXTURES[which])
    if kind == "noise":
        return ""
    return r.choice(BACKGROUNDS[which]) + (" at night" if night else "")


def joined(phrases):
    return " and ".join(phrases) if len(phrases) < 3 else ", ".join(phrases[:-1]) + " and " + phrases[-1]


def words_only(world, spec, r, where):
    """A query of one to three words."""
    x = spec["objs"][0]
    t = name(world, x, r)
    if x["col"]:
        t = x["col"] + " " + t
    if where and spec["bg"][0] == "scene":
        b = r.choice(SHORT_SCENES[spec["bg"][1]]) + (" night" if spec["bg"][2] else "")
        t = t + " " + b if r.random() < .6 else b + " " + t
    return t


def of_one(world, spec, r, must, where, place):
    x = spec["objs"][0]
    if not must:
        form = r.random()
        if form < .12:
            return words_only(world, spec, r, where), True
        if form < .16 and world.concepts[x["c"]]["emoji"]:
            tags = r.choice(world.concepts[x["c"]]["emoji"])[2]
            if tags:
                return ", ".join([name(world, x, r)] + r.sample(tags, min(len(tags), r.choice([1, 2])))), True
    t = noun_phrase(world, x, r, colour="col" in must, size=spec.get("size"))
    if "count" in must and r.random() < .5:
        t = "one " + name(world, x, r)
    posture = ""
    if world.kind[x["c"]] in ("a", "p") and where and spec["bg"][0] == "scene" and r.random() < .3:
        posture = " " + r.choice(POSTURES)
    if where and r.random() < .08:
        return place + ", " + t, False
    return t + posture + (" " + place if where else ""), False


def of_several(world, spec, r, must, where, place):
    x = spec["objs"][0]
    t = plural(name(world, x, r))
    if x["col"] and ("col" in must or r.random() < .8):
        t = x["col"] + " " + t
    number = r.choice(NUMBERS[spec["n"]])
    if "count" not in must and r.random() < .12:
        number = r.choice(["some", "several", "many"]) if spec["n"] > 2 else "some"
    return number + " " + t + (" " + place if where else ""), False


def of_pair(world, spec, r, must, where, place):
    a, b, relation = spec["objs"][0], spec["objs"][1], spec["rel"]
    if r.random() < .3:
        a, b, relation = b, a, SEEN_FROM_THE_OTHER[relation]
    first = noun_phrase(world, a, r, colour="col" in must)
    second = noun_phrase(world, b, r, colour="col" in must)
    form = r.random()
    if "rel" in must or form < .72:
        words = r.choice(RELATION_WORDS[relation])
        if relation == "on" and world.kind[a["c"]] in ("a", "p") and r.random() < .4:
            words = r.choice(ON_POSTURES)
        if r.random() < .12:
            words = "is " + words
        t = f"{first} {words} {second}"
    else:
        t = f"{first} {'and' if form < .9 else 'with'} {second}"
    if where and (spec["bg"][0] == "scene" or r.random() < .4 or "bg" in must):
        t += " " + place
    return t, False


def of_mixed(world, spec, r, must, where, place):
    things = spec["objs"][:]
    r.shuffle(things)
    if len(things) > 2 and r.random() < .2 and not must:
        things = things[:2]
    return joined([noun_phrase(world, x, r, colour="col" in must) for x in things]) + (" " + place if where else ""), False


FORMS = {"single": of_one, "count": of_several, "pair": of_pair, "multi": of_mixed}


def caption(world, spec, r, must=()):
    """One of the many ways to say what is there; `must`: what it may not leave out."""
    place = background_phrase(spec, r)
    where = "bg" in must or bool(place) and r.random() < (.5 if spec["bg"][0] == "scene" else .3)
    t, bare = FORMS[spec["kind"]](world, spec, r, must, where, place)
    if bare:
        return t
    if r.random() < .22:
        t = r.choice(OPENINGS) + t
    if r.random() < .05:
        t += "."
    return t


def full_caption(world, spec):
    """Everything that the picture shows, said in one plain way."""
    def noun(x):
        n = world.name(x)
        return with_article(x["col"] + " " + re.sub(r"^(red|green|blue) ", "", n) if x["col"] else n, n)

    things, kind = spec["objs"], spec["kind"]
    if kind == "count":
        colour = things[0]["col"] + " " if things[0]["col"] else ""
        t = {2: "two", 3: "three", 4: "four"}[spec["n"]] + " " + colour + plural(world.name(things[0]))
    elif kind == "pair":
        t = f"{noun(things[0])} {RELATION_WORDS[spec['rel']][0]} {noun(things[1])}"
    else:
        t = joined([noun(x) for x in things])
    what, which, night = spec["bg"]
    if what == "scene":
        return f"{t} {BACKGROUNDS[which][0]}" + (" at night" if night else "")
    if what in ("plain", "gradient"):
        return f"{t} on {article(which)} {which} background"
    return f"{t} {TEXTURES[which][0]}" if what == "texture" else t


# What may be taken for one another is no negative.
ALIKE_BACKGROUNDS = [
    {"lake", "underwater"}, {"night", "space"}, {"sky", "blue"}, {"snow", "white"}, {"night", "black"},
    {"space", "black"}, {"beach", "desert"}, {"beach", "lake"}, {"grass", "mountains"},
]
ALIKE_RELATIONS = {
    "on": ["above", "on"], "above": ["on", "above"], "under": ["under"], "next to": ["next to", "left of", "right of"],
    "left of": ["left of", "next to"], "right of": ["right of", "next to"],
    "in front of": ["in front of", "on", "under", "above", "next to"],
    "behind": ["behind", "on", "under", "above", "next to"],
}


def change(world, s, what, r):
    """Changes one thing of the spec; what the caption must then say, or None where it cannot be changed."""
    things = s["objs"]
    if what == "obj":
        x = r.choice(things)
        c = r.choice(world.by_kind[world.kind[x["c"]][0]]) if r.random() < .7 else world.pick(r)
        names = [set(world.concepts[i]["names"]) for i in (c, x["c"])]
        if c in {y["c"] for y in things} or names[0] & names[1]:
            return None
        x["c"] = c
        if world.is_shape[c] and not x["col"]:
            x["col"] = r.choice(list(COLOURS))
        return ()
    if what == "bg":
        old = s["bg"]
        new = scenes.background(r, .5 if old[0] == "plain" else .2)
        alike = {new[1], old[1]} in ALIKE_BACKGROUNDS or old[2] and new[1] == "night"
        if new[0] not in ("plain", "scene") or new[:2] == old[:2] or alike:
            return None
        s["bg"] = new
        return ("bg",)
    if what == "col":
        x = r.choice([y for y in things if y["col"]])
        x["col"] = r.choice([c for c in COLOURS if c != x["col"]])
        return ("col",)
    if what == "count":
        n = r.choice([i for i in (1, 2, 3, 4) if i != s.get("n", 1)])
        if n == 1:
            s["kind"], s["size"] = "single", None
        else:
            s["kind"] = "count"
        s["n"] = n
        return ("count",)
    if what == "rel":
        s["rel"] = r.choice([x for x in scenes.RELATIONS if x not in ALIKE_RELATIONS[s["rel"]]])
        return ("rel",)
    if s["rel"] == "next to":  # swap
        return None
    s["objs"] = things[::-1]
    return ("rel",)


def negatives(world, spec, r, n=3):
    """(caption, what was changed): false for this picture, and only just."""
    out = []
    for _ in range(30):
        if len(out) == n:
            break
        choice = ["obj", "obj"]
        if spec["bg"][0] in ("plain", "scene"):
            choice.append("bg")
        if any(x["col"] for x in spec["objs"]):
            choice.append("col")
        choice += {"count": ["count", "count"], "single": ["count"], "pair": ["rel", "swap", "rel", "swap"]}.get(spec["kind"], [])
        what = r.choice(choice)
        s = copy.deepcopy(spec)
        must = change(world, s, what, r)
        if must is not None:
            out.append((caption(world, s, r, must), what))
    while len(out) < n:
        out.append((caption(world, scenes.spec(world, r), r), "random"))
    return out
