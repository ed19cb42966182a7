#!/usr/bin/env python3
"""A checkpoint as the authors' training code writes it (PyTorch Lightning), and what a converted one has to compute.

usage: make_lightning.py OUT_DIR [--seed N]

Writes OUT_DIR/lightning/:
  model.ckpt               the authors' names, heads ITC, ITM and MLM, and the entries beside state_dict that real files have
  hostile.ckpt             the same kind of file, but loading it as a pickle would run a command
  converted.safetensors    inputs and outputs, named as make_golden.py names them. image_embeds takes the authors' path:
                           normalise(itc_image_head(ln_post(x_N)[:, 0])), with no transform and no type embedding
"""
import argparse
import math
import sys
import types
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

from make_golden import DEFAULTS, expected_tensors, make_config, make_inputs, make_models

CASE = DEFAULTS | dict(hidden=64, heads=1, layers=2, itc=16)  # the authors' heads are hidden / 64
TEMPERATURE = 0.05
OF_THE_VISION_EMBEDDINGS = {
    "class_embedding": "class_embedding",
    "patch_embedding.weight": "conv1.weight",
    "position_embedding.weight": "positional_embedding",
}


def authors_name(key):
    """transformers' name of a tensor -> the authors', or None where they have no such tensor."""
    if key.startswith("itc_cross_modal_head") or key == "logit_scale":
        return None
    key = key.removeprefix("bridgetower.")
    vision = "vision_model.visual."
    if key.startswith(vision):
        rest = key.removeprefix(vision)
        return "vit_model.visual." + OF_THE_VISION_EMBEDDINGS.get(rest.removeprefix("embeddings."), rest)
    if key.startswith("text_model."):
        return "text_transformer." + key.removeprefix("text_model.")
    return key


def lightning_file(state_dict):
    """The entries of a file written by Lightning 1.3; its callback classes are pickled by name."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules[module.__name__] = module
    return {
        "epoch": 9,
        "global_step": 100_000,
        "pytorch-lightning_version": "1.3.2",
        "state_dict": state_dict,
        "callbacks": {callback: dict(monitor="val/the_metric", best_model_score=torch.tensor(-1.5), best_model_path="")},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"config": dict(image_size=CASE["image"], tokenizer="roberta-base", loss_names=dict(itm_itc=1))},
    }


class RunsACommand:
    def __reduce__(self):
        import os

        return os.system, ("echo a pickle was run",)


@torch.no_grad()
def main(out, seed):
    config = make_config(CASE)
    models, state, generator = make_models(config, CASE["dtype"], seed)
    inputs = make_inputs(config, CASE["batch"], generator)
    expected = expected_tensors(models, inputs, every_stage=True)
    itc = models["itc"]
    visual = itc.bridgetower.vision_model.visual
    first = visual.forward_post(itc.bridgetower(**inputs, output_hidden_states=True).hidden_states[1][-1])[:, 0]
    expected["image_embeds"] = torch.nn.functional.normalize(itc.itc_image_head(first), dim=-1)
    expected["logit_scale"] = torch.tensor(math.log(1 / TEMPERATURE))
    del expected["cross_embeds"]  # the authors have no such head

    width, positions = CASE["hidden"], CASE["positions"]
    theirs = OrderedDict()
    for key, value in state.items():
        if name := authors_name(key):
            theirs[name] = value.to(CASE["dtype"])
    theirs["temperature"] = torch.tensor(TEMPERATURE)
    theirs["text_transformer.embeddings.position_ids"] = torch.arange(positions)[None]
    # Rests of CLIP's text side that the authors' picture tower carries along.
    theirs["vit_model.positional_embedding"] = torch.zeros(8, width)
    theirs["vit_model.ln_final.weight"] = torch.ones(width)
    theirs["vit_model.ln_final.bias"] = torch.zeros(width)
    theirs._metadata = OrderedDict({"": {"version": 1}})

    folder = Path(out) / "lightning"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(lightning_file(theirs), folder / "model.ckpt")
    torch.save({"state_dict": {"temperature": torch.ones(()), "cross_modal_text_pooler": RunsACommand()}}, folder / "hostile.ckpt")
    save_file({k: v.contiguous() for k, v in expected.items()}, folder / "converted.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    main(args.out, args.seed)
