"""Orthogonalised momentum (Muon) for the hidden matrices, AdamW for everything else.

The processes see the same gradients; each orthogonalises its share of the matrices and they exchange the results.
"""
import math

import torch
import torch.distributed as dist

HIDDEN = ("resblocks", "encoder.layer", "cross_modal_text_layers", "cross_modal_image_layers")
PATCH_RATE = .07  # whitened at the start already: larger steps undo that
DECAY, MOMENTUM, ITERATIONS = .05, .95, 4


def orthogonalised(x):
    """Newton-Schulz, in bfloat16: a batch of matrices with all singular values near 1."""
    flip = x.shape[-2] > x.shape[-1]
    x = x.transpose(1, 2) if flip else x
    x = (x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)).bfloat16()
    for _ in range(ITERATIONS):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.transpose(1, 2) if flip else x


class Optimiser:
    """For named parameters whose .grad is the same in all processes."""

    def __init__(self, net, rank, world):
        self.rank, self.world = rank, world
        hidden, decayed, rest, patch = [], [], [], []
        for name, p in net.named_parameters():
            if "patch_embedding" in name:
                patch.append(p)
            elif p.ndim == 2 and any(k in name for k in HIDDEN):
                hidden.append(p)
            elif p.ndim >= 2 and "embedding" not in name:
                decayed.append(p)
            else:
                rest.append(p)
        groups = [dict(params=decayed, weight_decay=DECAY, part=1.0), dict(params=rest, weight_decay=0.0, part=1.0),
                  dict(params=patch, weight_decay=0.0, part=PATCH_RATE)]
        self.adam = torch.optim.AdamW(groups, lr=1e-3, betas=(.9, .98), foreach=True)
        self.hidden, self.momentum = hidden, [torch.zeros_like(p) for p in hidden]
        shapes = {}
        for i, p in enumerate(hidden):
            shapes.setdefault(tuple(p.shape), []).append(i)
        self.share = [group[rank::world] for group in shapes.values()]
        self.flat = torch.zeros(sum(p.numel() for p in hidden), dtype=torch.bfloat16)
        parts = self.flat.split([p.numel() for p in hidden])
        self.updates = [part.view_as(p) for part, p in zip(parts, hidden)]

    @torch.no_grad()
    def step(self, rate):
        for group in self.adam.param_groups:
            group["lr"] = rate * group["part"]
        self.adam.step()
        self.flat.zero_()
        for group in self.share:
            group = [i for i in group if self.hidden[i].grad is not None]
            if not group:
                continue
            gradients = [self.hidden[i].grad for i in group]
            x = torch.stack([g.add(self.momentum[i].mul_(MOMENTUM).add_(g), alpha=MOMENTUM)
                             for i, g in zip(group, gradients)])
            shape = x.shape[1:]
            if shape[0] == 3 * shape[1]:  # queries, keys and values are three matrices
                x = x.view(-1, shape[1], shape[1])
            for i, update in zip(group, orthogonalised(x).reshape(len(group), *shape)):
                self.updates[i].copy_(update)
        if self.world > 1:
            dist.all_reduce(self.flat)
        for p, update in zip(self.hidden, self.updates):
            if p.grad is not None:
                longest = p.shape[1] if p.shape[0] == 3 * p.shape[1] else max(p.shape)
                p.mul_(1 - rate * DECAY).add_(update.float(), alpha=-rate * .2 * math.sqrt(longest))

    def state(self):
        """All of it on every process: each knows only the momentum of its share."""
        if self.world > 1:
            shared = {i for group in self.share for i in group}
            for i, m in enumerate(self.momentum):
                m.mul_(float(i in shared))
                dist.all_reduce(m)
        return dict(adam=self.adam.state_dict(), momentum=self.momentum)

    def load(self, state):
        self.adam.load_state_dict(state["adam"])
        for mine, kept in zip(self.momentum, state["momentum"]):
            mine.copy_(kept)
