#!/usr/bin/env python3
"""Trains mini: the picture tower against names, then both towers, then everything.

usage: train.py [--minutes M] [--init FOLDER] [--name NAME] ...

Writes WORK/NAME.pt every two minutes and goes on from it when it is there, so it can be killed or stopped at any time.
The schedule runs on the time spent in steps, not on the clock. Two processes of one thread each share a step: on a busy
machine one of them then waits once a step, not at every matrix product. The f32 weights are what is learnt; products run
in bfloat16, which is two to three times as fast on processors that have it.
"""
import argparse
import math
import os
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

import art
from batches import FALSE, LENGTH, TRUE, Batches, kept_patches, trimmed
from model import EMBEDDING, PAD, WIDTH, Mini, normalised, to_patches
from optimiser import Optimiser

LONGEST_STEP = 6.0  # seconds: what is longer was a pause, and counts as this
SAVE_EVERY = 120.0  # seconds
FAR = -1e4          # a score that never wins
ITM_WEIGHTS = dict(own=2.0, made=1.0, mined=1.0, random=.5)


def options():
    a = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    a.add_argument("--minutes", type=float, default=150, help="time in steps")
    a.add_argument("--singles", type=float, default=.12, help="until this part of it only pictures of one thing, picture tower alone")
    a.add_argument("--visual", type=float, default=.24, help="until this part the picture tower alone")
    a.add_argument("--towers", type=float, default=.45, help="until this part the two towers without cross-modal layers")
    a.add_argument("--whole", type=float, default=.94, help="from this part on with all patches")
    a.add_argument("--batch", type=int, default=96, help="pictures a step and process")
    a.add_argument("--keep", type=int, default=24, help="patches kept of 64")
    a.add_argument("--rate", type=float, default=2e-3, help="highest learning rate; cosine")
    a.add_argument("--average", type=float, default=.997, help="decay of the averaged weights, which are what is shipped")
    a.add_argument("--sets", default="train,easy")
    a.add_argument("--init", default="", help="a model folder to start from instead of from nothing")
    a.add_argument("--freeze-text", action="store_true", help="the text tower is learnt only together with the cross-modal layers")
    a.add_argument("--name", default="mini")
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--processes", type=int, default=2)
    a.add_argument("--steps", type=int, default=0, help="stop after so many; 0: when the time is up")
    a.add_argument("--report", type=int, default=50, help="steps between two lines of figures")
    return a.parse_args()


class Net(nn.Module):
    """The model, and what only training needs: a vector for each concept, and heads for what else is in a scene."""

    def __init__(self, data):
        super().__init__()
        self.mini = Mini(data.vocabulary)
        self.names = nn.Parameter(F.normalize(torch.randn(len(data.concepts), EMBEDDING), dim=-1))
        self.names_scale = nn.Parameter(torch.tensor(2.3))
        self.scene = nn.Linear(WIDTH, sum(data.parts))

    def start(self, data, A):
        if not A.init:
            pictures = data.draw(400, np.random.default_rng(A.seed))[0]
            self.mini.start(normalised(to_patches(pictures)).reshape(-1, 768)[::2])
            return
        self.mini.load_state_dict({k: v.float() for k, v in load_file(f"{A.init}/model.safetensors").items()})
        with torch.no_grad():
            self.names.copy_(self.mini.embed_text(self.mini.text(trimmed(data.names))[1]))
            self.names_scale.fill_(2.8)


class Losses:
    """The losses of one step, and their running means for the report."""

    def __init__(self, net, data, A, world, rng):
        self.net, self.mini, self.data, self.A, self.world, self.rng = net, net.mini, data, A, world, rng
        self.sums = {}

    def log(self, **what):
        for k, v in what.items():
            self.sums.setdefault(k, []).append(float(v.detach()))

    def figures(self):
        out = " ".join(f"{k} {np.mean(v):.3f}" for k, v in self.sums.items())
        self.sums.clear()
        return out

    def step(self, part):
        """(loss, pictures) at this part of the schedule"""
        A = self.A
        keep = A.keep if part < A.whole else 0
        n = A.batch if keep else A.batch * 2 // 3
        if part < A.visual:
            pictures, _, things, scene = self.data.draw(n, self.rng, single=part < A.singles)
            states = self.mini.vision(*kept_patches(pictures, keep))
            named, other, _ = self.seen(self.mini.embed_picture(states), states, things, scene)
            return named + .15 * other, n
        return self.words_and_pictures(n, keep, part >= A.towers), n

    def seen(self, embeddings, states, things, scene):
        """Which concepts are in the picture; background, number and colour; the first as a distribution."""
        net = self.net
        want = torch.zeros(len(things), len(net.names)).scatter_add_(1, things.clamp(min=0), (things >= 0).float())
        want = want / want.sum(1, keepdim=True)
        scores = self.by_name(embeddings)
        named = F.cross_entropy(scores, want, label_smoothing=.02)
        parts = net.scene(states[-1][:, 0]).float().split(self.data.parts, 1)
        other = sum(F.cross_entropy(p, scene[:, k]) for k, p in enumerate(parts))
        self.log(named=named, other=other, first=(want.gather(1, scores.argmax(1, keepdim=True)) > 0).float().mean())
        return named, other, want

    def by_name(self, embeddings):
        return (embeddings @ F.normalize(self.net.names, dim=-1).t() * self.net.names_scale.exp()).float()

    def everyones(self, x):
        """The rows of this process, then those of the others, which carry no gradient."""
        if self.world == 1:
            return x
        rows = [torch.empty_like(x) for _ in range(self.world)]
        dist.all_gather(rows, x.detach().contiguous())
        return torch.cat([x] + [r for i, r in enumerate(rows) if i != dist.get_rank()])

    def words_and_pictures(self, n, keep, cross):
        A, mini, rng = self.A, self.mini, self.rng
        pictures, ids, things, scene = self.data.draw(n, rng)
        row = torch.arange(n)
        own = trimmed(ids[row, torch.from_numpy(rng.integers(0, TRUE, n))])
        false = trimmed(ids[row, torch.from_numpy(rng.integers(TRUE, TRUE + FALSE, n))])
        v = mini.vision(*kept_patches(pictures, keep))
        with torch.set_grad_enabled(cross or not A.freeze_text):
            t, last, mask = mini.text(own)
            ft, flast, fmask = mini.text(false)
            te, fe = mini.embed_text(last), mini.embed_text(flast)
        ve = mini.embed_picture(v)
        scale = mini.logit_scale.float().exp()
        named, other, want = self.seen(ve, v, things, scene)
        padded = F.pad(own, (0, LENGTH - own.shape[1]), value=PAD)
        same = (padded[:, None] == self.everyones(padded)[None]).all(-1)  # the same words are no negative
        same[row, row] = False
        vt = (ve.float() @ self.everyones(te).float().t() * scale).masked_fill(same, FAR)
        tv = (te.float() @ self.everyones(ve).float().t() * scale).masked_fill(same, FAR)
        made = (ve * fe).float().sum(-1, keepdim=True) * scale
        itc = (F.cross_entropy(torch.cat([vt, made], 1), row) + F.cross_entropy(tv, row)) / 2
        hard = F.cross_entropy(torch.stack([vt[row, row], made[:, 0]], 1), torch.zeros(n, dtype=torch.long))
        text_named = F.cross_entropy(self.by_name(te), want)
        self.log(itc=itc, hard=hard, right=(vt.argmax(1) == row).float().mean())
        weight = .25 if cross else .5
        loss = itc + .3 * hard + weight * named + .1 * other + .3 * weight * text_named
        if not cross:
            return loss
        twins = (want[:, None] == want[None]).all(-1) & (scene[:, None] == scene[None]).all(-1)
        taken = twins | same[:, :n] | torch.eye(n, dtype=torch.bool)
        pairs = self.pairs(vt[:, :n], tv[:, :n], taken)
        loss = loss + self.matching(pairs, (t, mask), (ft, fmask), v, (te, ve, scale), (vt, tv, made))
        if rng.random() < .25:
            loss = loss + .3 * self.masked_words(own, v)
        return loss

    @torch.no_grad()
    def pairs(self, vt, tv, taken):
        """For half the batch: a text and a picture that the embeddings confuse with the right one (now and then nearly
        any), and a random text; each with whether it is really wrong."""
        n, rng = len(vt), self.rng
        half = torch.from_numpy(rng.permutation(n)[:n // 2])
        heat = 1.0 if rng.random() < .75 else 8.0
        mine = lambda s: torch.multinomial(F.softmax(s[half].masked_fill(taken[half], FAR) / heat, 1) + 1e-9, 1)[:, 0]
        text, picture = mine(vt), mine(tv)
        random = torch.from_numpy((half.numpy() + rng.integers(1, n, len(half))) % n)
        return half, (text, ~taken[half, text]), (picture, ~taken[picture, half]), (random, ~taken[half, random])

    def matching(self, pairs, true, false, v, embedded, similar):
        """ITM as a classifier, ITM on top of the cosine as a ranker, and the embedding of the pair."""
        (te, ve, scale), (vt, tv, made) = embedded, similar
        half, (text, wrong_text), (picture, wrong_picture), (random, wrong_random) = pairs
        h, q = len(half), len(half) // 2
        long = max(true[0][0].shape[1], false[0][0].shape[1])
        states = lambda s: F.pad(s, (0, 0, 0, long - s.shape[1]))
        masks = lambda m: F.pad(m, (0, long - m.shape[-1]), value=-1e30)
        texts = [torch.cat([states(a[half]), states(b[half]), states(a[text]), states(a[half]), states(a[random[:q]])])
                 for a, b in zip(true[0], false[0])]
        mask = torch.cat([masks(true[1][half]), masks(false[1][half]), masks(true[1][text]), masks(true[1][half]),
                          masks(true[1][random[:q]])])
        seen = [torch.cat([s[half], s[half], s[half], s[picture], s[half[:q]]]) for s in v]
        pooled, _ = self.mini.cross(texts, seen, mask)
        logits = self.mini.itm_score(pooled).float()
        label = torch.cat([torch.ones(h), torch.zeros(len(logits) - h)]).long()
        w = ITM_WEIGHTS
        weight = torch.cat([torch.full((h,), w["own"]), torch.full((h,), w["made"]), wrong_text * w["mined"],
                            wrong_picture * w["mined"], wrong_random[:q] * w["random"]])
        itm = (F.cross_entropy(logits, label, reduction="none") * weight).sum() / weight.sum()
        d = logits[:, 1] - logits[:, 0]
        cosine = torch.cat([vt[half, half], made[half, 0], vt[half, text], tv[half, picture]]).detach()
        right, false_text, mined_text, mined_picture = (d[:4 * h] + cosine).view(4, h)
        far, first = torch.tensor(FAR), torch.zeros(h, dtype=torch.long)
        rank = F.cross_entropy(torch.stack([right, false_text, torch.where(wrong_text, mined_text, far)], 1), first)
        rank = rank + F.cross_entropy(torch.stack([right, torch.where(wrong_picture, mined_picture, far)], 1), first)
        pe = self.mini.embed_pair(pooled[:h]).float()
        scale = scale.detach()
        pair = sum(F.cross_entropy(pe @ e.detach().float().t() * scale, half) for e in (te, ve)) / 2
        self.log(itm=itm, rank=rank, pair=pair, yes=(d[:h] > 0).float().mean(), made=(d[h:2 * h] < 0).float().mean(),
                 mined=(d[2 * h:4 * h] < 0).float().mean(), random=(d[4 * h:] < 0).float().mean())
        return itm + .25 * rank + .05 * pair

    def masked_words(self, own, v):
        """MLM on a quarter of the batch."""
        few = torch.from_numpy(self.rng.permutation(len(own))[:len(own) // 4])
        ids = own[few]
        hidden = (torch.rand(ids.shape) < .25) & (ids > 3)
        hidden[0, 1] = True  # never none
        t, _, mask = self.mini.text(ids.masked_fill(hidden, self.data.mask_id))
        _, states = self.mini.cross(t, [s[few] for s in v], mask)
        loss = F.cross_entropy(self.mini.mlm_score(states[hidden]).float(), ids[hidden])
        self.log(mlm=loss)
        return loss


class Training:
    """State of a run: weights, their average, optimiser, progress."""

    def __init__(self, rank, A):
        self.rank, self.A = rank, A
        self.data = Batches(A.sets.split(","))
        torch.manual_seed(A.seed)
        self.net = Net(self.data)
        self.net.start(self.data, A)
        self.half = Net(self.data).bfloat16()
        self.params, self.half_params = list(self.net.parameters()), list(self.half.parameters())
        self.average = [p.detach().clone() for p in self.params]
        self.optimiser = Optimiser(self.net, rank, A.processes)
        self.done = dict(step=0, seen=0, seconds=0.0)
        self.path = art.WORK / f"{A.name}.pt"
        if self.path.exists():
            kept = torch.load(self.path, weights_only=True)
            self.net.load_state_dict(kept["net"])
            self.optimiser.load(kept["optimiser"])
            names = [n for n, _ in self.net.named_parameters()]
            self.average = [kept["average"][n] for n in names]
            self.done = kept["done"]
        rng = np.random.default_rng([A.seed, rank, self.done["step"]])
        torch.manual_seed(A.seed * 1000 + rank + 7 * self.done["step"])
        self.losses = Losses(self.half, self.data, A, A.processes, rng)
        self.flat = torch.zeros(sum(p.numel() for p in self.params) + 2)  # gradients, pictures, seconds
        parts = self.flat[:-2].split([p.numel() for p in self.params])
        self.gradients = [part.view_as(p) for part, p in zip(parts, self.params)]
        self.tick = time.time()

    def save(self):
        state = self.optimiser.state()
        if self.rank == 0:
            names = [n for n, _ in self.net.named_parameters()]
            kept = dict(net=self.net.state_dict(), average=dict(zip(names, self.average)), optimiser=state, done=self.done)
            torch.save(kept, f"{self.path}.new")
            os.replace(f"{self.path}.new", self.path)

    def step(self):
        A, done = self.A, self.done
        part = done["seconds"] / (A.minutes * 60)
        with torch.no_grad():
            torch._foreach_copy_(self.half_params, self.params)
        for p in self.half_params:
            p.grad = None
        loss, n = self.losses.step(part)
        loss.backward()
        self.flat.zero_()
        for g, p in zip(self.gradients, self.half_params):
            if p.grad is not None:
                g.copy_(p.grad)
        now = time.time()
        self.flat[-2], self.flat[-1], self.tick = n, min(LONGEST_STEP, now - self.tick), now
        if A.processes > 1:
            dist.all_reduce(self.flat)
        done["seen"] += int(self.flat[-2])
        done["seconds"] += float(self.flat[-1]) / A.processes
        self.flat.div_(A.processes)
        norm = float(self.flat[:-2].norm())
        if not math.isfinite(norm):
            return
        if norm > 2:
            self.flat.mul_(2 / norm)
        for p, g, h in zip(self.params, self.gradients, self.half_params):
            p.grad = g if h.grad is not None else None
        self.rate = A.rate * (min(1, (done["step"] + 1) / 60) * (.5 + .5 * math.cos(math.pi * part)) + .01)
        self.optimiser.step(self.rate)
        with torch.no_grad():
            self.net.mini.logit_scale.clamp_(1.0, 4.0)
            torch._foreach_lerp_(self.average, self.params, 1 - min(A.average, (1 + done["step"]) / (10 + done["step"])))
        done["step"] += 1

    def run(self):
        A, done = self.A, self.done
        if self.rank == 0:
            size = sum(p.numel() for p in self.net.mini.parameters()) / 1e6
            print(f"{len(self.data)} pictures, {len(self.data.concepts)} concepts, {size:.2f} M parameters, step {done['step']}",
                  flush=True)
        start = reported = time.time()
        seen, saved = done["seen"], done["seconds"]
        while done["seconds"] < A.minutes * 60 and not 0 < A.steps <= done["step"]:
            self.step()
            if self.rank == 0 and done["step"] % A.report == 0:
                now = time.time()
                print(f"{done['seconds'] / 60:5.1f} min step {done['step']} seen {done['seen']} "
                      f"{(done['seen'] - seen) / (now - reported):.0f}/s rate {self.rate:.5f} {self.losses.figures()}", flush=True)
                seen, reported = done["seen"], now
            if done["seconds"] - saved > SAVE_EVERY:  # the same in all processes: saving is a common act
                self.save()
                saved = done["seconds"]
        self.save()
        if self.rank == 0:
            print(f"done: {done['step']} steps, {done['seen']} pictures, {(time.time() - start) / 60:.1f} minutes", flush=True)


def work(rank, A):
    torch.set_num_threads(1)
    if A.processes > 1:
        meeting = f"file://{(art.WORK / f'{A.name}.meeting').resolve()}"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=A.processes)
    Training(rank, A).run()


def main():
    A = options()
    (art.WORK / f"{A.name}.meeting").unlink(missing_ok=True)
    if A.processes == 1:
        work(0, A)
    else:
        mp.spawn(work, (A,), nprocs=A.processes)


if __name__ == "__main__":
    main()
