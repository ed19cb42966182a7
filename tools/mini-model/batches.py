"""Training batches out of the drawn sets, as they grow: pictures, captions as ids, claims and facts."""
import os
import threading
import time

import numpy as np
import torch

import art
import captions
import claims
import model
import tokens
from backgrounds import BACKGROUNDS
from claims import CLAIMS, NAMES, NUMBER, PLACE, SEVERAL, SINGULAR, TINTS
from make_data import CELL, CHUNK, FALSE, TRUE

NUMBERS = 8  # 1 to 4 of a kind, then 1 to 4 different things
SHIFT = 10   # pixels; more than half a patch, so that no patch border is ever in the same place
FORMS = ["{0}", "{0}", "a {0}", "a {0}", "a {0}", "the {0}", "{1}", "a photo of a {0}", "picture of a {0}", "there is a {0}", "some {1}"]


class Queries:
    """Short queries: what a thing, a thing of a colour, a kind of things or a place is called, and nothing more."""

    def __init__(self, words, tokenizer):
        texts, rows, self.of = [], [], [[] for _ in words.own]
        by_name = {}
        for name in words.names:
            if words.plain(name) != name:
                continue  # "red car" says more than the thing
            for form in FORMS:
                one = name if form == "{0}" else captions.with_article(name, name)
                if form.endswith("a {0}"):
                    text = form[:-5] + one
                else:
                    text = form.format(name, captions.plural(name))
                by_name.setdefault(name, []).append(len(texts))
                texts.append(text)
                number = 0 if form in ("{0}", "{1}") else SEVERAL if "some" in form else SINGULAR
                # a cat beside a dog are "some animals" though there is one of each: kinds claim no number
                rows.append((words.number[name], 0 if name in words.kind else number))
        for own, mine in zip(words.own, self.of):
            known = [n for n in own if n in by_name] or [words.plain(own[0])]
            for k, name in enumerate(known):
                mine += by_name[name] * (len(known) if k == 0 else 1)  # half of the time the first name
        named = np.zeros((len(texts), CLAIMS), np.int16)
        named[:, NAMES.start], named[:, NUMBER] = np.array(rows).T
        placed = []
        for where, short in captions.SHORT_SCENES.items():
            if where == "sky":
                continue  # there is sky over every field
            for text in short + BACKGROUNDS[where]:
                row = np.zeros(CLAIMS, np.int16)
                row[PLACE] = claims.PLACE_NUMBER["scene", where, False]
                texts.append(text)
                placed.append(row)
        self.places = np.arange(len(named), len(texts))
        coloured, self.coloured = [], len(texts)
        for own in words.own:
            name = words.plain(own[0])
            for colour, number in claims.COLOUR_NUMBER.items():
                for text in (f"{colour} {name}", captions.with_article(f"{colour} {name}", name)):
                    row = np.zeros(CLAIMS, np.int16)
                    row[NAMES.start], row[TINTS.start] = words.number[name], number
                    texts.append(text)
                    coloured.append(row)
        self.ids = tokens.ids_of(tokenizer, texts)
        self.longest = int((self.ids != model.PAD).sum(1).max())
        self.claims = np.concatenate([named, np.array(placed), np.array(coloured)])
        self.claims[:, claims.EXACT] = 1
        self.of, self.many = self.rectangle(self.of)
        self.of_kind, self.many_of_kind = self.rectangle([[i for w in kind.words for i in by_name[w]] for kind in words.kinds])

    @staticmethod
    def rectangle(lists):
        """The lists as rows of one array, and how long each was."""
        longest = max(map(len, lists))
        return np.array([m + [0] * (longest - len(m)) for m in lists]), np.array([len(m) for m in lists])

    def draw(self, n, concepts, colours, rng, kinds):
        """Numbers of n queries: a share of `kinds` for any kind, a few for places, the others for some of these concepts,
        half of the time with their colours (0: as the art comes)."""
        which, k = rng.integers(0, len(concepts), n), rng.integers(0, len(self.of_kind), n)
        c, colour = concepts[which], colours[which]
        out = self.of[c, (rng.random(n) * self.many[c]).astype(int)]
        with_colour = self.coloured + ((c * len(claims.COLOUR_NUMBER) + colour - 1) * 2 + rng.integers(0, 2, n))
        out = np.where((colour > 0) & (rng.random(n) < .5), with_colour, out)
        out = np.where(rng.random(n) < kinds, self.of_kind[k, (rng.random(n) * self.many_of_kind[k]).astype(int)], out)
        return np.where(rng.random(n) < .06, rng.choice(self.places, n), out)


class Pictures:
    """The pictures drawn so far. On a GPU they are taken into its memory by a thread, else read from the memory maps."""

    def __init__(self, names, device, world, most):
        self.device, self.names, self.stop = device, names, False
        self.words, self.tokenizer = claims.Words(world), tokens.load()
        self.vocabulary, self.mask_id = self.tokenizer.get_vocab_size(), self.tokenizer.token_to_id("<mask>")
        self.queries = Queries(self.words, self.tokenizer)
        self.concepts, self.parts = len(self.words.taught), [len(claims.PLACES) + 1, NUMBERS, len(claims.COLOUR_NUMBER) + 1]
        self.n, self.most, self.maps, self.taken = 0, most, {}, [set() for _ in names]
        gpu = device.type == "cuda"
        empty = lambda *shape, kind=torch.int16, where="cpu": torch.zeros(most, *shape, dtype=kind, device=where)
        self.ids = empty(TRUE + FALSE, tokens.LENGTH)
        self.claims, self.facts = empty(TRUE + FALSE, CLAIMS), empty(claims.FACTS)
        side = art.SIDE // CELL
        self.map = empty(side, side, kind=torch.uint8)
        self.twin, self.sided, self.single = (np.zeros(most, bool) for _ in range(3))
        self.slot = np.zeros((most, 2), np.int64)  # which set, which place of its memory map
        self.pixels = empty(art.SIDE, art.SIDE, 3, kind=torch.uint8, where=device) if gpu else None
        if gpu:
            threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        with torch.cuda.stream(torch.cuda.Stream()):
            while not self.stop and self.n + CHUNK <= self.most:
                self.take_up()
                time.sleep(.5)

    def take_up(self):
        """Takes what has been drawn since."""
        for k, name in enumerate(self.names):
            folder = art.WORK / f"{name}.parts"
            there = {f for f in os.listdir(folder) if f.endswith(".npz")} if folder.exists() else set()
            for file in sorted(there - self.taken[k]):
                if self.n + CHUNK <= self.most and not self.stop:
                    self.taken[k].add(file)
                    self.take(k, name, np.load(folder / file))

    def take(self, k, name, part):
        if name not in self.maps:
            self.maps[name] = np.load(art.WORK / f"{name}.npy", mmap_mode="c")  # "c": torch wants it writable
        n, start = len(part["ids"]), int(part["start"])
        at = slice(self.n, self.n + n)
        for key in ("ids", "claims", "facts", "map"):
            getattr(self, key)[at] = torch.from_numpy(part[key])
        self.twin[at], self.sided[at] = part["twin"], part["sided"]
        self.single[at] = (part["facts"][:, claims.THINGS] > 0).sum(1) == 1
        self.slot[at, 0], self.slot[at, 1] = k, np.arange(start, start + n)
        if self.pixels is not None:
            self.pixels[at].copy_(torch.from_numpy(self.maps[name][start:start + n]))
            torch.cuda.current_stream().synchronize()
        self.n += n  # last: from now on they are drawn from

    def __len__(self):
        return self.n

    def draw(self, n, rng, single=False):
        """n pictures in twos, moved a little and (where no caption says left or right) mirrored: (uint8 pictures, their
        row numbers, the numbers of the things in the maps at one random pixel of each patch)."""
        if self.pixels is None:
            self.take_up()
        if single:
            pick = rng.choice(np.flatnonzero(self.single[:self.n]), n)
        else:
            first = rng.choice(self.n // 2, n // 2, replace=False) * 2
            pick = np.stack([first, first + 1], 1).reshape(-1)
        by = rng.integers(-SHIFT, SHIFT + 1, (2, n, 1)) * (rng.random((1, n, 1)) < .8)
        y, x = np.clip(np.arange(model.SIDE) + by, 0, model.SIDE - 1)
        mirrored = ~self.sided[pick] & np.repeat(rng.random((n + 1) // 2) < .5, 2)[:n]  # twins alike
        x = np.where(mirrored[:, None], x[:, ::-1], x)
        rows, yy, xx = map(self.sent, (pick, y, x))
        if self.pixels is not None:
            pictures = self.pixels[rows[:, None, None], yy[:, :, None], xx[:, None, :]]
        else:
            maps = [self.maps.get(name) for name in self.names]
            whole = torch.from_numpy(np.stack([maps[k][i] for k, i in self.slot[pick]]))
            pictures = whole[torch.arange(n)[:, None, None], yy[:, :, None], xx[:, None, :]]
        inside = rng.integers(0, model.PATCH, (2, n, model.GRID * model.GRID))
        line, column = np.divmod(np.arange(model.GRID * model.GRID), model.GRID)
        row = np.arange(n)[:, None]
        cells = self.map[pick[:, None], y[row, line * model.PATCH + inside[0]] // CELL, x[row, column * model.PATCH + inside[1]] // CELL]
        return pictures, pick, self.sent(cells).long()

    def sent(self, a):
        """The array on the device, without waiting for what is done there."""
        t = torch.from_numpy(np.ascontiguousarray(a)) if isinstance(a, np.ndarray) else a
        return t.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else t


def kept_patches(pictures, keep):
    """(normalised patches, which they are): `keep` of them, the busy ones preferred; 0 keeps all.
    The light of the whole picture changes a little."""
    p, which, device = model.to_patches(pictures), None, pictures.device
    if keep:
        busy = p[:, :, ::7].float().std(-1)
        gumbel = -torch.log(-torch.log(torch.rand_like(busy).clamp(1e-6, 1 - 1e-6)))
        which = (2.5 * torch.log(busy + 2.5) + gumbel).topk(keep, 1).indices
        p = torch.gather(p, 1, which[..., None].expand(-1, -1, p.shape[-1]))
    n = len(p)
    noise = lambda *shape: torch.randn(*shape, device=device)
    gain, shift = 1 + .08 * noise(n, 1, 1), .06 * noise(n, 1, 1)
    tint = (.05 * noise(n, 1, 3)).repeat_interleave(model.PATCH * model.PATCH, 2)
    return model.normalised(p) * gain + shift + tint, which
