"""Orthogonalised momentum (Muon) for the hidden matrices, AdamW for everything else."""
import math

import torch

HIDDEN = ("resblocks", "encoder.layer", "cross_modal_text_layers", "cross_modal_image_layers")
PATCH_RATE = .07  # whitened at the start already: larger steps undo that
DECAY, MOMENTUM, ITERATIONS = .05, .95, 4


def orthogonalised(x, kind):
    """Newton-Schulz, in bfloat16 where that is fast: a batch of matrices with all singular values near 1."""
    flip = x.shape[-2] > x.shape[-1]
    x = x.transpose(1, 2) if flip else x
    x = (x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)).to(kind)
    for _ in range(ITERATIONS):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.transpose(1, 2) if flip else x


class Optimiser:
    """Parameters without a gradient stay as they are. `kind`: the numbers in which products are computed."""

    def __init__(self, net, kind):
        self.kind = kind
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
        self.shapes = list(shapes.values())

    @torch.no_grad()
    def step(self, rate):
        for group in self.adam.param_groups:
            group["lr"] = rate * group["part"]
        self.adam.step()
        for group in self.shapes:
            group = [i for i in group if self.hidden[i].grad is not None]
            if not group:
                continue
            params, gradients = [self.hidden[i] for i in group], [self.hidden[i].grad for i in group]
            momentum = [self.momentum[i] for i in group]
            torch._foreach_mul_(momentum, MOMENTUM)
            torch._foreach_add_(momentum, gradients)
            x = torch.stack(torch._foreach_add(gradients, momentum, alpha=MOMENTUM))
            shape = x.shape[1:]
            longest = max(shape)
            if shape[0] == 3 * shape[1]:  # queries, keys and values are three matrices
                x, longest = x.view(-1, shape[1], shape[1]), shape[1]
            update = orthogonalised(x, self.kind).reshape(len(group), *shape).float()
            torch._foreach_mul_(params, 1 - rate * DECAY)
            torch._foreach_add_(params, list(update.unbind()), alpha=-rate * .2 * math.sqrt(longest))

    def state(self):
        return dict(adam=self.adam.state_dict(), momentum=self.momentum)

    def load(self, state):
        self.adam.load_state_dict(state["adam"])
        for mine, kept in zip(self.momentum, state["momentum"]):
            mine.copy_(kept)
