#!/usr/bin/env python3
"""Figures of a model folder on the held-out sets; can write the folder from a training file first.

usage: evaluate.py [--export NAME] [--golden OUT] [--sets test,known,unseen,valid,album] FOLDER

Retrieval on the drawn sets is by the first caption of each picture, which says all that is there; on the album (samples/)
by the first and then by all captions. Three ways to sort: by embedding, the best 20 by ITM, and these by the ITM logit
difference plus the scaled cosine. AUC: own caption against that of another picture (random) and against captions changed
in one thing (changed). Kinds: words like "animal" as queries.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer

import art
import claims
import export
import make_data
import scenes
import tokens
from model import PAD, PATCH, Mini, normalised, to_patches

TOP = 20
SAMPLES = Path(__file__).resolve().parents[2] / "samples"


class Model:
    """Weights in f32, and the tokenizer."""

    def __init__(self, weights, tokenizer, device="cpu"):
        self.net = Mini(weights["mlm_score.decoder.weight"].shape[0]).to(device).eval()
        self.tokenizer, self.device, self.part = tokenizer, device, 100 if device == "cpu" else 2000
        self.load(weights)

    def load(self, weights):
        self.net.load_state_dict(weights)
        self.scale = float(self.net.logit_scale.exp())

    @classmethod
    def read(cls, folder):
        weights = {k: v.float() for k, v in load_file(Path(folder) / "model.safetensors").items()}
        return cls(weights, Tokenizer.from_file(str(Path(folder) / "tokenizer.json")))

    def texts(self, texts):
        """(bridge states, mask, embeddings) of all texts, padded to one length"""
        ids = torch.from_numpy(tokens.ids_of(self.tokenizer, texts)).long()
        ids = ids[:, :int((ids != PAD).sum(1).max())].to(self.device)
        parts = [self.net.text(part) for part in ids.split(2 * self.part)]
        states = [torch.cat(s) for s in zip(*(p[0] for p in parts))]
        return states, torch.cat([p[2] for p in parts]), self.net.embed_text(torch.cat([p[1][:, :1] for p in parts]))

    def pictures(self, patches):
        """(bridge states, embeddings) of normalised patches"""
        parts = [self.net.vision(part) for part in patches.to(self.device).split(self.part)]
        states = [torch.cat(s) for s in zip(*parts)]
        return states, self.net.embed_picture(states)

    def itm(self, texts, pictures, t, p):
        """Logit differences of the pairs (t[i], p[i])"""
        out = []
        for a, b in zip(t.split(2 * self.part), p.split(2 * self.part)):
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
    every = cosine.argsort(dim=1, descending=True, stable=True)
    top = every[:, :TOP]
    asked, found = torch.arange(len(top), device=top.device).repeat_interleave(top.shape[1]), top.reshape(-1)
    itm = model.itm(texts, pictures, *((found, asked) if flip else (asked, found))).reshape(top.shape)
    both = itm + model.scale * cosine.gather(1, top)
    sorted_by = lambda score: top.gather(1, score.argsort(dim=1, descending=True, stable=True))
    right = lambda o: owner[o] == torch.arange(len(o), device=o.device)[:, None] if flip else o == owner[:, None]
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
    row = torch.arange(n, device=model.device)
    false = [(i, t, what) for i, r in enumerate(rows) for t, what in r[1] if what != "random"]
    false_texts = model.texts([t for _, t, _ in false])
    at = torch.tensor([i for i, _, _ in false], device=model.device)
    good = model.itm(texts, pictures, row, row)
    bad = model.itm(false_texts, pictures, torch.arange(len(false), device=model.device), at)
    cosine = (texts[2] * pictures[1]).sum(1)
    out = dict(random=auc(good, model.itm(texts, pictures, row, (row + n // 2) % n)), changed=auc(good, bad),
               changed_by_embedding=auc(cosine, (false_texts[2] * pictures[1][at]).sum(1)))
    for kind in sorted({what for _, _, what in false}):
        which = torch.tensor([i for i, (_, _, what) in enumerate(false) if what == kind], device=model.device)
        out[kind] = auc(good, bad[which])
    return out


def refusal(model, pictures, present, absent, answered=.95):
    """Share of the absent queries that are below the score which `answered` of the present ones reach, by the score of the
    best picture: cosine, ITM of the best 20, both."""
    best = []
    for texts in (present, absent):
        texts = model.texts(texts)
        cosine, top = (texts[2] @ pictures[1].t()).topk(TOP, 1)
        itm = model.itm(texts, pictures, torch.arange(len(top), device=top.device).repeat_interleave(TOP), top.reshape(-1))
        itm = itm.reshape(top.shape)
        best.append([x.max(1).values for x in (cosine, itm, itm + model.scale * cosine)])
    return {name: round(100 * float((b < a.quantile(1 - answered)).float().mean()), 1)
            for name, a, b in zip(("embedding", "itm", "itm_plus_itc"), *best)}


def named(model, world, rows, pictures):
    """Queries that are a bare name: share of the first places, and of the first k where k pictures show it, that do."""
    concepts = sorted({c for r in rows for c in r[2]})
    names = {}
    for c in concepts:
        names.setdefault(world.concepts[c]["names"][0], set()).add(c)
    texts = model.texts(list(names))
    cosine = texts[2] @ pictures[1].t()
    top = cosine.topk(TOP, 1).indices
    itm = model.itm(texts, pictures, torch.arange(len(top), device=top.device).repeat_interleave(TOP), top.reshape(-1)).reshape(top.shape)
    both = top.gather(1, (itm + model.scale * cosine.gather(1, top)).argsort(1, descending=True)).tolist()
    out = dict(first=[], first_embedding=[], all_of_them=[])
    for mine, order, by_cosine in zip(names.values(), both, top.tolist()):
        shows = lambda i: bool(mine & set(rows[i][2]))
        k = min(TOP // 2, sum(map(shows, range(len(rows)))))
        out["first"].append(shows(order[0]))
        out["first_embedding"].append(shows(by_cosine[0]))
        out["all_of_them"].append(sum(map(shows, order[:k])) / k)
    return {k: round(100 * float(np.mean(v)), 1) for k, v in out.items()}


def average_precision(scores, true, false):
    """Mean over the queries that anything answers, and each one's share of right ones among the first ten (among as many
    as there are, where these are fewer). What is neither true nor false is left out."""
    precision, ten = [], []
    for s, t, f in zip(scores, true, false):
        right = t[t | f][s[t | f].argsort(descending=True, stable=True)].double()
        if right.any():
            places = torch.arange(1, len(right) + 1, device=s.device)
            precision.append(float((right * right.cumsum(0) / places).sum() / right.sum()))
            ten.append(float(right[:10].sum() / min(10, right.sum())))
    return dict(average_precision=round(100 * np.mean(precision), 1), first_ten=round(100 * np.mean(ten), 1))


def kinds(model, words, rows, pictures):
    """Queries that name a kind of things: the first word of each line of kinds.txt. All pictures sorted by embedding, and
    the best 20 of these by ITM; the first 250 pictures each of the three ways, and how often ITM finds those likely that
    fit, and those that do not."""
    asked = [k.words[0] for k in words.kinds]
    said = np.zeros((len(asked), claims.CLAIMS), np.int16)
    said[:, 0], said[:, claims.EXACT] = [words.number[word] for word in asked], 1
    sent = lambda a: torch.from_numpy(a).to(model.device)
    true, false = claims.Judge(words, torch.device(model.device))(sent(said), sent(np.stack([words.facts(r[3]) for r in rows])))
    texts = model.texts(asked)
    cosine = texts[2] @ pictures[1].t()
    pairs = lambda which: model.itm(texts, pictures, torch.arange(len(asked), device=model.device).repeat_interleave(
        which.shape[1]), which.reshape(-1)).reshape(which.shape)
    top = cosine.topk(TOP, 1).indices
    best = torch.full_like(cosine, -1e9).scatter(1, top, pairs(top) + model.scale * cosine.gather(1, top))
    few = slice(0, 250)
    itm = pairs(torch.arange(len(rows), device=model.device)[few].expand(len(asked), -1))
    likely = lambda which: round(100 * float((itm[which[:, few]] > 0).double().mean()), 1)
    of_few = lambda score: average_precision(score, true[:, few], false[:, few])
    return dict(embedding=average_precision(cosine, true, false), best_20=average_precision(best, true, false)["first_ten"],
                few=dict(embedding=of_few(cosine[:, few]), itm=of_few(itm), itm_plus_itc=of_few(itm + model.scale * cosine[:, few])),
                likely=likely(true), likely_though_wrong=likely(false))


def answers(model, world, rows, pictures, absent):
    """On a set in which things are missing: names and captions of what is there, and of what is not (absent.txt)."""
    lines = absent.read_text().splitlines()[1:]
    known = {c["names"][0] for c in world.concepts}
    shown = sorted({world.concepts[c]["names"][0] for r in rows for c in r[2]})
    split = lambda texts, bare: [t for t in texts if (t in known) == bare]
    return dict(named=named(model, world, rows, pictures),
                refused_names=refusal(model, pictures, shown, split(lines, True)),
                refused_captions=refusal(model, pictures, [t for r in rows for t in r[0][:2]], split(lines, False)))


def main():
    a = argparse.ArgumentParser()
    a.add_argument("folder")
    a.add_argument("--export", help="write FOLDER from the averaged weights of WORK/EXPORT.pt")
    a.add_argument("--golden", help="write what transformers computes with FOLDER to this folder")
    a.add_argument("--sets", default="test,known,unseen,valid,album")
    a.add_argument("--pairs", type=int, default=1000)
    A = a.parse_args()
    torch.set_grad_enabled(False)
    if A.export:
        export.write_model(A.export, A.folder)
    if A.golden:
        export.write_golden(A.folder, SAMPLES, A.golden)
    model, world = Model.read(A.folder), scenes.World()
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
        found["auc"] = matching(model, rows, texts, pictures)
        found["kinds"] = kinds(model, claims.Words(world), rows, pictures)
        if name == "valid":
            found.update(answers(model, world, rows, pictures, art.WORK / name / "absent.txt"))
        print(json.dumps(dict(set=name, pairs=len(rows), **found)), flush=True)


if __name__ == "__main__":
    main()
