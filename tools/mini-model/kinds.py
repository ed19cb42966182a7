"""Words for kinds of things ("animal", "fruit"), read from kinds.txt: what is of a kind, and what some would count to it."""
from dataclasses import dataclass

import art


@dataclass
class Kind:
    """`words` that mean the same; first names of the things that are of the kind, and of those that may be."""
    words: list
    things: set
    unsure: set


def read(taught):
    """The kinds of kinds.txt; `taught`: first names of the things that are taught, which every line must be made of."""
    kinds, by_word = [], {}
    for line in (art.HERE / "kinds.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        left, right = line.split("=")
        words = listed(left)
        sets = []
        for part in (right + ";").split(";")[:2]:
            things = set()
            for name in listed(part):
                # in its own line "bird" is the thing; further down it is all birds
                if name in by_word:
                    things |= by_word[name].things
                elif name in taught:
                    things.add(name)
                else:
                    raise SystemExit(f"kinds.txt: {name!r} is neither taught nor a kind from above: {line}")
            sets.append(things)
        kind = Kind(words, sets[0], sets[1] - sets[0])
        kinds.append(kind)
        by_word.update({w: kind for w in words})
    return kinds


def listed(text):
    return [x.strip() for x in text.split(",") if x.strip()]
