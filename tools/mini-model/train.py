#!/usr/bin/env python3
"""Trains mini: the picture tower against names, then both towers, then everything.

usage: train.py [--minutes M] [--init FOLDER] [--name NAME] ...

Trains on what make_data.py has drawn so far, which may go on drawing meanwhile. Writes WORK/NAME.pt every minute and goes
on from it when it is there, so it can be killed or stopped at any time. Takes a GPU if there is one. The f32 weights are
what is learnt; products run in bfloat16 on GPUs and on processors that have it, where it is two to three times as fast.
"""
import argparse
import math
import os
import time

import numpy as np
import torch

import art
import export
import scenes
from batches import Pictures
from check import Check
from losses import Losses, Net
from model import normalised, to_patches
from optimiser import Optimiser

LONGEST_STEP = 6.0  # seconds: what is longer was a pause, and counts as this
SAVE_EVERY = 60.0   # seconds


def options():
    a = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    a.add_argument("--minutes", type=float, default=150, help="time in steps; see --clock")
    a.add_argument("--clock", action="store_true", help="minutes are counted on the clock, from the start of the program")
    a.add_argument("--wait", type=int, default=20_000, help="pictures that must have been drawn before it starts")
    a.add_argument("--most", type=int, default=820_000, help="pictures taken at most (on a GPU they fill its memory)")
    a.add_argument("--singles", type=float, default=.05, help="until this part of it only pictures of one thing, picture tower alone")
    a.add_argument("--visual", type=float, default=.13, help="until this part the picture tower alone")
    a.add_argument("--towers", type=float, default=.30, help="until this part the two towers without cross-modal layers")
    a.add_argument("--whole", type=float, default=.72, help="from this part on with all patches")
    a.add_argument("--batch", type=int, default=0, help="pictures a step; 0: 768 on a GPU, else 128")
    a.add_argument("--keep", type=int, default=32, help="patches kept of 64")
    a.add_argument("--rate", type=float, default=2e-3, help="highest learning rate; cosine")
    a.add_argument("--average", type=float, default=.998, help="decay of the averaged weights, which are what is shipped")
    a.add_argument("--sets", default="easy,train")
    a.add_argument("--queries", type=float, default=.25, help="short queries a picture")
    a.add_argument("--kinds", type=float, default=.25, help="share of the short queries that ask for a kind of things")
    a.add_argument("--matched", type=float, default=.625, help="share of the pictures whose captions go through the cross-modal layers")
    a.add_argument("--init", default="", help="a model folder to start from instead of from nothing")
    a.add_argument("--freeze", action="store_true", help="the picture tower stays as it is, and everything else is learnt "
                   "from the first step on")
    a.add_argument("--name", default="mini")
    a.add_argument("--out", default="", help="also write the averaged weights here at each save: f16, and f32 in parts")
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--threads", type=int, default=1, help="on a processor; two wait for each other on a busy machine")
    a.add_argument("--steps", type=int, default=0, help="so many, whatever time they take; 0: until the time is up")
    a.add_argument("--report", type=float, default=15, help="seconds between two lines of figures")
    a.add_argument("--check", type=float, default=0, help="seconds between two looks at the set valid (minutes without a GPU); 0: none")
    return a.parse_args()


class Training:
    """State of a run: weights, their average, optimiser, progress."""

    def __init__(self, A, began):
        self.A = A
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.batch = A.batch or (768 if self.device.type == "cuda" else 128)
        self.data = Pictures(A.sets.split(","), self.device, scenes.World(A.threads), A.most)
        self.wait()
        torch.manual_seed(A.seed)
        net = Net(self.data)
        if A.init:
            net.load(self.data, A.init)
        else:
            pictures = self.data.draw(400, np.random.default_rng(A.seed))[0].cpu()
            net.mini.start(normalised(to_patches(pictures)).reshape(-1, 768)[::2])
        kind = self.kind_of_product()
        self.net, self.half = net.to(self.device), Net(self.data).to(self.device, kind)
        if A.freeze:
            self.half.mini.bridgetower.vision_model.requires_grad_(False)
        self.params, self.half_params = list(self.net.parameters()), list(self.half.parameters())
        self.average = [p.detach().clone() for p in self.params]
        self.optimiser = Optimiser(self.net, kind)
        self.done = dict(step=0, seen=0, seconds=0.0, skipped=0)
        self.path = art.WORK / f"{A.name}.pt"
        if self.path.exists():
            kept = torch.load(self.path, weights_only=True, map_location=self.device)
            self.net.load_state_dict(kept["net"])
            self.optimiser.load(kept["optimiser"])
            self.average = [kept["average"][n] for n, _ in self.net.named_parameters()]
            self.done = kept["done"]
        torch.manual_seed(A.seed * 1000 + 7 * self.done["step"])
        self.losses = Losses(self.half, self.data, A, np.random.default_rng([A.seed, self.done["step"]]))
        self.flat = torch.zeros(sum(p.numel() for p in self.params), device=self.device)
        self.gradients = [part.view_as(p) for part, p in zip(self.flat.split([p.numel() for p in self.params]), self.params)]
        self.check = Check(self.data, self.device) if A.check and (art.WORK / "valid.pkl").exists() else None
        self.seconds = A.minutes * 60 - (time.time() - began if A.clock else 0)
        self.tick = time.time()

    def kind_of_product(self):
        fast = self.device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if fast else torch.float32

    def part(self):
        """How much of the run is over: of its steps where they are given, else of its time."""
        return self.done["step"] / self.A.steps if self.A.steps else self.done["seconds"] / self.seconds

    def wait(self):
        """Until there are pictures enough; on the clock for a third of the time at most."""
        began = time.time()
        while len(self.data) < self.A.wait:
            if self.device.type == "cpu":
                self.data.take_up()
            time.sleep(.5)
            if self.A.clock and time.time() - began > self.A.minutes * 20:
                print(f"{len(self.data)} pictures only", flush=True)
                break

    def averaged(self):
        return {n: a for (n, _), a in zip(self.net.named_parameters(), self.average)}

    def save(self):
        kept = dict(net=self.net.state_dict(), average=self.averaged(), optimiser=self.optimiser.state(), done=self.done)
        torch.save(kept, f"{self.path}.new")
        os.replace(f"{self.path}.new", self.path)
        if self.A.out:
            export.write_weights(self.averaged(), self.A.out)

    def step(self):
        A, done = self.A, self.done
        part = self.part()
        with torch.no_grad():
            torch._foreach_copy_(self.half_params, self.params)
        for p in self.half_params:
            p.grad = None
        n = self.batch if part < A.whole or self.device.type == "cuda" else self.batch * 2 // 3 // 2 * 2
        loss = self.losses.step(n, "single" if part < A.singles else "visual" if part < A.visual else
                                "towers" if part < A.towers else "all", part >= A.whole)
        loss.backward()
        self.flat.zero_()
        there = [(g, h.grad) for g, h in zip(self.gradients, self.half_params) if h.grad is not None]
        torch._foreach_copy_([g for g, _ in there], [h for _, h in there])
        norm = self.flat.norm()
        self.flat.mul_((2 / (norm + 1e-6)).clamp(max=1)).masked_fill_(~torch.isfinite(norm), 0)
        self.losses.log(norm=norm)
        for p, g, h in zip(self.params, self.gradients, self.half_params):
            p.grad = g if h.grad is not None else None
        warm = min(60, A.steps // 8 or 60)
        self.rate = A.rate * (min(1, (done["step"] + 1) / warm) * (.5 + .5 * math.cos(math.pi * min(1, part))) + .01)
        self.optimiser.step(self.rate)
        with torch.no_grad():
            self.net.mini.logit_scale.clamp_(1.0, 4.0)
            torch._foreach_lerp_(self.average, self.params, 1 - min(A.average, (1 + done["step"]) / (10 + done["step"])))
        done["step"] += 1
        done["seen"] += n

    def safe_step(self):
        """A step; on a GPU that is too small with fewer pictures from then on."""
        try:
            self.step()
        except torch.cuda.OutOfMemoryError:
            for p in self.half_params:
                p.grad = None
            self.batch = self.batch * 3 // 4 // 2 * 2
            print(f"out of memory: {self.batch} pictures a step from now on", flush=True)
            if self.batch < 64:
                raise
            torch.cuda.empty_cache()
        now = time.time()
        self.done["seconds"] += now - self.tick if self.A.clock else min(LONGEST_STEP, now - self.tick)
        self.tick = now

    def run(self):
        A, done, data = self.A, self.done, self.data
        size = sum(p.numel() for p in self.net.mini.parameters()) / 1e6
        print(f"{len(data)} pictures, {data.concepts} concepts, {size:.2f} M parameters, {self.device}, step {done['step']}, "
              f"{f'{A.steps} steps' if A.steps else f'{self.seconds:.0f} seconds'}", flush=True)
        reported = time.time()
        seen, saved, checked = done["seen"], done["seconds"], done["seconds"]
        try:
            while self.part() < 1:
                self.safe_step()
                now = time.time()
                if now - reported > A.report:
                    figures = self.losses.figures()  # waits for the GPU
                    print(f"{done['seconds']:6.1f} s step {done['step']} seen {done['seen']} of {len(data)} "
                          f"{(done['seen'] - seen) / (now - reported):.0f}/s rate {self.rate:.5f} {figures}", flush=True)
                    seen, reported = done["seen"], now
                if self.check and done["seconds"] - checked > A.check:
                    self.look()
                    checked = done["seconds"]
                if done["seconds"] - saved > SAVE_EVERY:
                    self.save()
                    saved = done["seconds"]
        finally:
            data.stop = True
            self.save()
        if self.check:
            self.look()
        print(f"done: {done['step']} steps, {done['seen']} views of {len(data)} pictures", flush=True)

    def look(self):
        try:
            print(self.check.figures(self.averaged()), flush=True)
        except Exception as error:  # figures are a comfort: the run goes on without them
            print(f"no figures: {error!r}", flush=True)
            self.check = None


def main():
    began = time.time()
    A = options()
    torch.set_num_threads(A.threads)
    torch.backends.cuda.matmul.allow_tf32 = True
    Training(A, began).run()


if __name__ == "__main__":
    main()
