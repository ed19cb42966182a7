#!/usr/bin/env python3
"""Figures of a model folder on the held-out sets; can write the folder from a training file first.

usage: evaluate.py [--export NAME] [--golden OUT] [--sets test,known,unseen,album] FOLDER

Retrieval on the drawn sets is by the first caption of each picture, which says all that is there; on the album (samples/)
by the first and then by all captions. Three ways to sort: by embedding, the best 20 by ITM, and these by the ITM logit
difference plus the scaled cosine. AUC: own caption against that of another picture (random) and against captions changed
in one thing (changed).
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer

import export
import make_data
from batches import LENGTH, trimmed
from model import PAD, PATCH, Mini, normalised, to_patches

TOP = 20
SAMPLES = Path(__file__).resolve().parents[2] / "samples"


class Model:
    """A model folder, in f32."""

    def __init__(self, folder):
        weights = {k: v.float() for k, v in load_file(Path(folder) / "model.safetensors").items()}
        self.net = Mini(weights["mlm_score.decoder.weight"].shape[0]).eval()
        self.net.load_state_dict(weights)
        self.scale = float(self.net.logit_scale.exp())
        self.tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        self.tokenizer.enable_truncation(LENGTH)

    def texts(self, texts):
        """(bridge states, mask, embeddings) of all texts, padded to one length"""
        ids = torch.full((len(texts), LENGTH), PAD)
        for row, e in zip(ids, self.tokenizer.encode_batch(texts)):
            row[:len(e.ids)] = torch.tensor(e.ids)
        parts = [self.net.text(part) for part in trimmed(ids).split(200)]
        states = [torch.cat(s) for s in zip(*(p[0] for p in parts))]
        return states, torch.cat([p[2] for p in parts]), self.net.embed_text(torch.cat([p[1][:, :1] for p in parts]))

    def pictures(self, patches):
        """(bridge states, embeddings) of normalised patches"""
        parts = [self.net.vision(part) for part in patches.split(100)]
        states = [torch.cat(s) for s in zip(*parts)]
        return states, self.net.embed_picture(states)

    def itm(self, texts, pictures, t, p):
        """Logit differences of the pairs (t[i], p[i])"""
        out = []
        for a, b in zip(t.split(200), p.split(200)):
            pooled, _ = self.net.cross([s[a] for s in texts[0]], [s[b] for s in pictures[0]], texts[1][a])
            logits = self.net.itm_score(pooled)
            out.append(logits[:, 1] - logits[:, 0])
        return torch.cat(out)


def recall(right):
    """R@1, R@5, R@10 of [n, k]: whether what stands there is right"""
    return [round(100 * float(right[:, :k].any(1).float().mean()), 1) for k in (1, 5, 10)]


def auc(good, bad):
    rank = torch.cat([good, bad]).argsort().argsort() + 1
    n = len(good)
    return round((float(rank[:n].sum()) - n * (n + 1) / 2) / n / len(bad), 3)


def retrieval(model, texts, pictures, owner, flip):
    """Recall of one direction, three ways to sort. owner [n]: which picture a text is of; `flip`: pictures ask for texts."""
    cosine = texts[2] @ pictures[1].t()
    cosine = cosine.t() if flip else cosine
    every = cosine.argsort(1, descending=True)
    top = every[:, :TOP]
    asked, found = torch.arange(len(top)).repeat_interleave(top.shape[1]), top.reshape(-1)
    itm = model.itm(texts, pictures, *((found, asked) if flip else (asked, found))).reshape(top.shape)
    both = itm + model.scale * cosine.gather(1, top)
    sorted_by = lambda score: top.gather(1, score.argsort(1, descending=True))
    right = lambda o: owner[o] == torch.arange(len(o))[:, None] if flip else o == owner[:, None]
    return dict(embedding=recall(right(every)), itm=recall(right(sorted_by(itm))), itm_plus_itc=recall(right(sorted_by(both))))


def both_ways(model, texts, pictures, owner):
    return dict(text_to_picture=retrieval(model, texts, pictures, owner, False),
                picture_to_text=retrieval(model, texts, pictures, owner, True))


def album(model, folder, captions=None):
    """The pictures of samples/, read by the processor that transformers has for the model."""
    kept = json.loads((SAMPLES / "samples.json").read_text())
    processor = export.ImageProcessor.from_pretrained(folder)
    pixels = processor([Image.open(SAMPLES / name).convert("RGB") for name in kept], return_tensors="pt")["pixel_values"]
    patches = pixels.float().unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    texts = [(t, i) for i, v in enumerate(kept.values()) for t in v["captions"][:captions]]
    return model.texts([t for t, _ in texts]), model.pictures(patches), torch.tensor([i for _, i in texts])


def matching(model, rows, texts, pictures):
    """AUC of ITM and of the cosine against random and changed captions."""
    n = len(rows)
    row = torch.arange(n)
    false = [(i, t, what) for i, r in enumerate(rows) for t, what in r[1] if what != "random"]
    false_texts = model.texts([t for _, t, _ in false])
    at = torch.tensor([i for i, _, _ in false])
    good = model.itm(texts, pictures, row, row)
    bad = model.itm(false_texts, pictures, torch.arange(len(false)), at)
    cosine = (texts[2] * pictures[1]).sum(1)
    out = dict(random=auc(good, model.itm(texts, pictures, row, (row + n // 2) % n)), changed=auc(good, bad),
               changed_by_embedding=auc(cosine, (false_texts[2] * pictures[1][at]).sum(1)))
    for kind in sorted({what for _, _, what in false}):
        which = torch.tensor([i for i, (_, _, what) in enumerate(false) if what == kind])
        out[kind] = auc(good, bad[which])
    return out


def main():
    a = argparse.ArgumentParser()
    a.add_argument("folder")
    a.add_argument("--export", help="write FOLDER from the averaged weights of WORK/EXPORT.pt")
    a.add_argument("--golden", help="write what transformers computes with FOLDER to this folder")
    a.add_argument("--sets", default="test,known,unseen,album")
    a.add_argument("--pairs", type=int, default=1000)
    A = a.parse_args()
    torch.set_grad_enabled(False)
    if A.export:
        export.write_model(A.export, A.folder)
    if A.golden:
        export.write_golden(A.folder, SAMPLES, A.golden)
    model = Model(A.folder)
    for name in filter(None, A.sets.split(",")):
        if name == "album":
            for captions in (1, None):
                got = album(model, A.folder, captions)
                print(json.dumps(dict(set=name, captions=len(got[2]), **both_ways(model, *got))), flush=True)
            continue
        pixels, rows = make_data.read(name)
        rows = rows[:A.pairs]
        patches = normalised(to_patches(torch.from_numpy(np.array(pixels[:A.pairs]))))
        texts, pictures = model.texts([r[0][0] for r in rows]), model.pictures(patches)
        found = both_ways(model, texts, pictures, torch.arange(len(rows)))
        print(json.dumps(dict(set=name, pairs=len(rows), **found, auc=matching(model, rows, texts, pictures))), flush=True)


if __name__ == "__main__":
    main()
