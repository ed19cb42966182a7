"""A quick look at the set valid while training goes on: the figures of evaluate.py that matter most, on one line."""
import numpy as np
import torch

import art
import evaluate
import export
import make_data
import scenes
from model import normalised, to_patches


class Check:
    def __init__(self, data, device):
        self.tokenizer, self.words, self.device = data.tokenizer, data.words, str(device)
        self.world, self.model = scenes.World(), None
        pixels, self.rows = make_data.read("valid")
        self.patches = normalised(to_patches(torch.from_numpy(np.array(pixels)))).to(device)

    @torch.no_grad()
    def figures(self, average):
        weights, rows = export.of_model(average), self.rows
        self.model = model = self.model or evaluate.Model(weights, self.tokenizer, self.device)
        model.load(weights)
        texts, pictures = model.texts([r[0][0] for r in rows]), model.pictures(self.patches)
        found = evaluate.retrieval(model, texts, pictures, torch.arange(len(rows), device=self.device), False)
        auc = evaluate.matching(model, rows, texts, pictures)
        kinds = evaluate.kinds(model, self.words, rows, pictures)
        more = evaluate.answers(model, self.world, rows, pictures, art.WORK / "valid" / "absent.txt")
        return f"valid: R@1 {' '.join(str(v[0]) for v in found.values())} auc {auc} kinds {kinds} {more}"
