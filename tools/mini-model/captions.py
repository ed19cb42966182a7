"""Captions by templates, and captions that are false in one thing."""
import copy
import re

from backgrounds import BACKGROUNDS, COLOURS, TEXTURES
import claims
from claims import ALIKE_BACKGROUNDS, ALIKE_RELATIONS, SEEN_FROM_THE_OTHER
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
    "food", "fast food", "junk food", "something to eat", "something to drink", "something to wear", "something sweet",
    "sweets", "alcohol", "livestock", "means of transport", "furniture", "sport", "sports", "sports equipment", "clothing",
    "clothes", "jewelry", "jewellery", "electronics",
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


def noun_phrase(world, x, r, said, colour=False, size=None):
    noun = name(world, x, r)
    adjectives = ""
    if x["col"] and (colour or r.random() < .8):
        adjectives = colour_word(x["col"], r) + " "
    said.thing(noun, x["col"] if adjectives else None)
    if size and not colour and r.random() < .15:
        said.exact = said.exact and .5 <= size <= .8
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


def words_only(world, spec, r, said, where):
    """A query of one to three words."""
    x = spec["objs"][0]
    t = name(world, x, r)
    said.thing(t, x["col"])
    said.number = 0
    if x["col"]:
        t = x["col"] + " " + t
    said.place = None
    if where and spec["bg"][0] == "scene":
        said.place = claims.place(spec["bg"])
        b = r.choice(SHORT_SCENES[spec["bg"][1]]) + (" night" if spec["bg"][2] else "")
        t = t + " " + b if r.random() < .6 else b + " " + t
    return t


def of_one(world, spec, r, said, must, where, place):
    x = spec["objs"][0]
    if must in ((), ("obj",)):
        form = r.random()
        if form < .12:
            return words_only(world, spec, r, said, where), True
        if form < .16 and world.concepts[x["c"]]["emoji"]:
            tags = r.choice(world.concepts[x["c"]]["emoji"])[2]
            if tags:
                said.place, said.exact, said.number = None, False, 0
                said.thing(name(world, x, r))
                return ", ".join([said.things[0][0]] + r.sample(tags, min(len(tags), r.choice([1, 2])))), True
    if "count" in must and r.random() < .5:
        said.thing(name(world, x, r))
        said.number = 1
        t = "one " + said.things[0][0]
    else:
        t = noun_phrase(world, x, r, said, colour="col" in must, size=spec.get("size"))
    posture = ""
    if world.kind[x["c"]] in ("a", "p") and where and spec["bg"][0] == "scene" and r.random() < .3:
        said.exact = False
        posture = " " + r.choice(POSTURES)
    if where and r.random() < .08:
        return place + ", " + t, False
    return t + posture + (" " + place if where else ""), False


def of_several(world, spec, r, said, must, where, place):
    x = spec["objs"][0]
    chosen = name(world, x, r)
    t, coloured = plural(chosen), x["col"] and ("col" in must or r.random() < .8)
    said.thing(chosen, x["col"] if coloured else None)
    if coloured:
        t = x["col"] + " " + t
    number, said.number = r.choice(NUMBERS[spec["n"]]), spec["n"]
    if "count" not in must and r.random() < .12:
        said.number = claims.SEVERAL
        number = r.choice(["some", "several", "many"]) if spec["n"] > 2 else "some"
    return number + " " + t + (" " + place if where else ""), False


def of_pair(world, spec, r, said, must, where, place):
    a, b, relation = spec["objs"][0], spec["objs"][1], spec["rel"]
    if r.random() < .3:
        a, b, relation = b, a, SEEN_FROM_THE_OTHER[relation]
    first = noun_phrase(world, a, r, said, colour="col" in must)
    second = noun_phrase(world, b, r, said, colour="col" in must)
    form = r.random()
    if "rel" in must or form < .72:
        said.relation = relation
        words = r.choice(RELATION_WORDS[relation])
        if relation == "on" and world.kind[a["c"]] in ("a", "p") and r.random() < .4:
            words = r.choice(ON_POSTURES)
        if r.random() < .12:
            words = "is " + words
        t = f"{first} {words} {second}"
    else:
        t = f"{first} {'and' if form < .9 else 'with'} {second}"
    if where and (spec["bg"][0] == "scene" or r.random() < .4 or "bg" in must):
        return t + " " + place, False
    said.place = None
    return t, False


def of_mixed(world, spec, r, said, must, where, place):
    things = spec["objs"][:]
    r.shuffle(things)
    if len(things) > 2 and r.random() < .2 and not must:
        things = things[:2]
    return joined([noun_phrase(world, x, r, said, colour="col" in must) for x in things]) + (" " + place if where else ""), False


FORMS = {"single": of_one, "count": of_several, "pair": of_pair, "multi": of_mixed}


def caption(world, spec, r, must=(), said=None):
    """One of the many ways to say what is there; `must`: what it may not leave out; `said` takes down what it claims."""
    said = claims.Said() if said is None else said
    place = background_phrase(spec, r)
    where = "bg" in must or bool(place) and r.random() < (.5 if spec["bg"][0] == "scene" else .3)
    said.place = claims.place(spec["bg"]) if where else None
    t, bare = FORMS[spec["kind"]](world, spec, r, said, must, where, place)
    if bare:
        return t
    if r.random() < .22:
        t = r.choice(OPENINGS) + t
    if r.random() < .05:
        t += "."
    return t


def full_caption(world, spec, said=None):
    """Everything that the picture shows, said in one plain way."""
    said = claims.Said() if said is None else said

    def noun(x, many=False):
        n = world.name(x)
        if x["col"]:
            n = claims.Words.plain(n)
        said.thing(n, x["col"])
        coloured = x["col"] + " " + (plural(n) if many else n) if x["col"] else plural(n) if many else n
        return coloured if many else with_article(coloured, n)

    things, kind = spec["objs"], spec["kind"]
    if kind == "count":
        said.number = spec["n"]
        t = {2: "two", 3: "three", 4: "four"}[spec["n"]] + " " + noun(things[0], True)
    elif kind == "pair":
        said.relation = spec["rel"]
        t = f"{noun(things[0])} {RELATION_WORDS[spec['rel']][0]} {noun(things[1])}"
    else:
        t = joined([noun(x) for x in things])
    what, which, night = spec["bg"]
    if what == "noise":
        return t
    said.place = claims.place(spec["bg"])
    if what == "scene":
        return f"{t} {BACKGROUNDS[which][0]}" + (" at night" if night else "")
    return f"{t} on {article(which)} {which} background" if what in ("plain", "gradient") else f"{t} {TEXTURES[which][0]}"


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
        if (c, x["st"]) not in world.sprites:
            x["st"] = r.choice(world.styles[c])
        if world.is_shape[c] and not x["col"]:
            x["col"] = r.choice(list(COLOURS))
        return ("obj",)
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
            s["kind"], s["size"] = "single", r.uniform(.4, .8)
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


def changes(spec):
    """What may be changed in a spec; what stands there more often is changed more often."""
    out = ["obj", "obj"]
    if spec["bg"][0] in ("plain", "scene"):
        out.append("bg")
    if any(x["col"] for x in spec["objs"]):
        out.append("col")
    return out + {"count": ["count", "count"], "single": ["count"], "pair": ["rel", "swap", "rel", "swap", "swap"]}.get(spec["kind"], [])


def changed(world, spec, r, keep=lambda spec: True):
    """(the spec with one thing changed, what its caption must say, what was changed); None if no try succeeds."""
    for _ in range(10):
        what, s = r.choice(changes(spec)), copy.deepcopy(spec)
        must = change(world, s, what, r)
        if must is not None and keep(s):
            return s, must, what


def negatives(world, spec, r, n=3):
    """(caption, what was changed, what it claims): false for this picture, and only just."""
    out = []
    for _ in range(n):
        s, must, what = changed(world, spec, r) or (scenes.spec(world, r), (), "random")
        said = claims.Said()
        out.append((caption(world, s, r, must, said), what, said))
    return out
