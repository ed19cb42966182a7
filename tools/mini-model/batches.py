"""Training batches out of the drawn sets: pictures from memory maps, captions as ids, labels."""
import pickle

import numpy as np
import torch

import art
import model
import tokens
from backgrounds import BACKGROUNDS, COLOURS, TEXTURES

LENGTH = 24  # ids of a caption, at most
TRUE, FALSE = 4, 3
PLACES = [("scene", k) for k in BACKGROUNDS] + [("plain", k) for k in COLOURS] + [("texture", k) for k in TEXTURES]
PLACES.append(("noise", ""))
NUMBERS = 8  # 1 to 4 of a kind, then 1 to 4 different things
SHIFT = 10   # pixels; more than half a patch, so that no patch border is ever in the same place


def ids_of(tokenizer, texts):
    out = np.full((len(texts), LENGTH), model.PAD, np.int16)
    for row, e in zip(out, tokenizer.encode_batch(texts)):
        row[:len(e.ids)] = e.ids
    return out


def trimmed(ids):
    return ids[:, :int((ids != model.PAD).sum(1).max())]


class Batches:
    """Every drawn set as one. Concepts are numbered 0, 1, ... here; `concepts` gives their numbers in concepts.txt."""

    def __init__(self, names):
        tokenizer = tokens.load()
        tokenizer.enable_truncation(LENGTH)
        self.vocabulary, self.mask_id = tokenizer.get_vocab_size(), tokenizer.token_to_id("<mask>")
        places = {k: i for i, k in enumerate(PLACES)}
        colours = {c: i + 1 for i, c in enumerate(COLOURS)}
        self.maps, ids, things, scene, sided = [], [], [], [], []
        for name in names:
            with open(art.WORK / f"{name}.pkl", "rb") as f:
                rows = pickle.load(f)
            self.maps.append(np.load(art.WORK / f"{name}.npy", mmap_mode="r"))
            for true, false, concepts, spec in rows:
                things.append((concepts + [-1] * 4)[:4])
                kind, which, _ = spec["bg"]
                number = spec["n"] - 1 if spec["kind"] == "count" else 0 if spec["kind"] == "single" else 3 + len(concepts)
                place = places["plain" if kind == "gradient" else kind, which]
                scene.append((place, number, colours.get(spec["objs"][0]["col"], 0)))
                texts = true + [t for t, _ in false]
                sided.append(any(" left" in t or " right" in t for t in texts))
            ids.append(ids_of(tokenizer, [t for row in rows for t in row[0] + [n for n, _ in row[1]]]))
        self.ends = np.cumsum([len(m) for m in self.maps])
        self.ids = np.concatenate(ids).reshape(-1, TRUE + FALSE, LENGTH)
        self.sided, self.scene = np.array(sided), np.array(scene, np.int64)
        self.concepts, numbers = np.unique(np.array(things), return_inverse=True)
        self.concepts = self.concepts[self.concepts >= 0]
        numbers = numbers.reshape(-1, 4)
        self.things = numbers - (numbers.max() + 1 - len(self.concepts))  # -1 where there is nothing more
        self.single = np.where((self.things >= 0).sum(1) == 1)[0]
        self.parts = [len(PLACES), NUMBERS, len(colours) + 1]
        first = [c["names"][0] for c in art.load()[0]]
        names = ["a " + first[c] for c in self.concepts]
        self.names = torch.from_numpy(ids_of(tokenizer, names).astype(np.int64))

    def __len__(self):
        return len(self.ids)

    def picture(self, i):
        part = int(np.searchsorted(self.ends, i, side="right"))
        return self.maps[part][i - (self.ends[part - 1] if part else 0)]

    def draw(self, n, rng, single=False):
        """n different pictures, moved a little and (where no caption says left or right) mirrored."""
        pick = np.sort(rng.choice(self.single if single else len(self), n, replace=False))  # sorted: kinder to the disk
        pictures = np.empty((n, model.SIDE, model.SIDE, 3), np.uint8)
        for to, i in zip(pictures, pick):
            a = self.picture(i)
            if rng.random() < .8:
                y, x = (np.clip(np.arange(model.SIDE) + by, 0, model.SIDE - 1) for by in rng.integers(-SHIFT, SHIFT + 1, 2))
                a = a[y][:, x]
            to[:] = a[:, ::-1] if not self.sided[i] and rng.random() < .5 else a
        ids = torch.from_numpy(self.ids[pick].astype(np.int64))
        return torch.from_numpy(pictures), ids, torch.from_numpy(self.things[pick]), torch.from_numpy(self.scene[pick])


def kept_patches(pictures, keep):
    """(normalised patches in bfloat16, which they are): `keep` of them, the busy ones preferred; 0 keeps all.
    The light of the whole picture changes a little."""
    p, which = model.to_patches(pictures), None
    if keep:
        busy = p[:, :, ::7].float().std(-1)
        gumbel = -torch.log(-torch.log(torch.rand_like(busy).clamp(1e-6, 1 - 1e-6)))
        which = (2.5 * torch.log(busy + 2.5) + gumbel).topk(keep, 1).indices
        p = torch.gather(p, 1, which[..., None].expand(-1, -1, p.shape[-1]))
    n = len(p)
    gain, shift = 1 + .06 * torch.randn(n, 1, 1), .05 * torch.randn(n, 1, 1)
    tint = (.05 * torch.randn(n, 1, 3)).repeat_interleave(model.PATCH * model.PATCH, 2)
    return (model.normalised(p) * gain + shift + tint).bfloat16(), which
