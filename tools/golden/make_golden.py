#!/usr/bin/env python3
"""Reference checkpoints with random weights, and what transformers computes with them (eager attention, f32).

usage: make_golden.py OUT_DIR [--only NAME] [--seed N]

Writes OUT_DIR/NAME/ for every case of CASES (without --only: for all but the full-size ones):
  config.json, preprocessor_config.json, and the weights with all heads, in the case's own file form and type
  tokenizer.json                           a toy tokenizer, cases with `tokenizer` only
  expected.safetensors                     the inputs and every stage's output:
    input_ids, attention_mask, pixel_values
    text_hidden.I, image_hidden.I          tower states, [batch, tokens, hidden]; 0 is after the embeddings
    cross_text.I, cross_image.I            outputs of cross-modal layer I
    pooler_output                          [batch, 2 hidden]
    itm_logits                             [batch, 2]; index 1 means match
    mlm_logits                             [batch, text tokens, vocabulary]
    text_embeds, image_embeds, cross_embeds   unit-length ITC embeddings; only where transformers has them: it
                                           fails with unshared transforms or towers of two widths
"""
import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    BridgeTowerConfig,
    BridgeTowerForContrastiveLearning,
    BridgeTowerForImageAndTextRetrieval,
    BridgeTowerForMaskedLM,
)

from weight_files import WRITERS
from toy_tokenizer import write_toy_tokenizer

# hidden: width of text tower and cross layers; vision: width of the picture tower (its heads are vision / 64);
# layers: of the text tower; cross: cross-modal layers; positions: text positions, of which 2 are never used.
DEFAULTS = dict(
    vision=64, heads=4, layers=3, cross=2, intermediate=2, vocab=120, positions=20, image=32, patch=8, itc=24,
    form="safetensors", dtype=torch.float16, tokenizer=False, batch=2, config={}, text_config={}, vision_config={},
)
CASES = {
    # the layout of every public checkpoint, small
    "tiny": dict(hidden=64, positions=40, itc=32, batch=3, tokenizer=True),
    # a patch of 14, as the large checkpoints have
    "patch14": dict(hidden=64, image=70, patch=14, dtype=torch.bfloat16),
    # one transform a bridge, scaled links, a wider picture tower with two heads, a bridge on every layer,
    # and settings that differ between the parts, so that reading the wrong part's shows
    "unshared": dict(
        hidden=32, vision=128, heads=2, layers=2,
        config=dict(
            share_cross_modal_transformer_layers=False, link_tower_type="scaled_add", layer_norm_eps=1e-3
        ),
        text_config=dict(hidden_act="relu", layer_norm_eps=1e-2),
        vision_config=dict(layer_norm_eps=3e-2),
    ),
    # interpolated links, and an activation that only the MLM head reads
    "interpolate": dict(hidden=32, heads=2, config=dict(link_tower_type="interpolate", hidden_act="gelu_new")),
    # a picture tower without its last block
    "droplast": dict(hidden=32, layers=2, vision_config=dict(num_hidden_layers=3, remove_last_layer=True)),
    # the other forms of weight files; as small as the graph allows
    "bin": dict(hidden=32, heads=2, layers=1, cross=1, vocab=60, form="bin", dtype=torch.float32),
    "sharded": dict(hidden=32, heads=2, layers=1, cross=1, vocab=60, form="sharded", dtype=torch.float32),
    # the sizes of the public checkpoints (1.5 GB and 3.7 GB)
    "base": dict(
        hidden=768, vision=768, heads=12, layers=12, cross=6, intermediate=4, vocab=50265, positions=514,
        image=288, patch=16, itc=512, batch=1, dtype=torch.float32,
    ),
    "large": dict(
        hidden=1024, vision=1024, heads=16, layers=24, cross=6, intermediate=4, vocab=50265, positions=514,
        image=294, patch=14, itc=512, batch=1, dtype=torch.float32,
    ),
}
FULL_SIZE = ("base", "large")
TEXT_TOKENS = 12


def make_config(case):
    config = BridgeTowerConfig(
        hidden_size=case["hidden"],
        num_attention_heads=case["heads"],
        num_hidden_layers=case["cross"],
        contrastive_hidden_size=case["itc"],
        logit_scale_init_value=2.6592,
        text_config=dict(
            dict(
                vocab_size=case["vocab"],
                hidden_size=case["hidden"],
                num_hidden_layers=case["layers"],
                num_attention_heads=case["heads"],
                intermediate_size=case["intermediate"] * case["hidden"],
                max_position_embeddings=case["positions"],
            ),
            **case["text_config"],
        ),
        vision_config=dict(
            dict(
                hidden_size=case["vision"],
                num_hidden_layers=case["layers"],
                patch_size=case["patch"],
                image_size=case["image"],
            ),
            **case["vision_config"],
        ),
        **case["config"],
    )
    config._attn_implementation = "eager"
    return config


def make_models(config, dtype, seed):
    """The three model classes with one common state, rounded to what the file will hold."""
    torch.manual_seed(seed)
    models = dict(itm=BridgeTowerForImageAndTextRetrieval(config), mlm=BridgeTowerForMaskedLM(config))
    if config.share_cross_modal_transformer_layers and config.vision_config.hidden_size == config.hidden_size:
        models["itc"] = BridgeTowerForContrastiveLearning(config)
    state = {}
    for model in models.values():
        for key, value in model.state_dict().items():
            state.setdefault(key, value)
    generator = torch.Generator().manual_seed(seed + 1)
    for key, value in state.items():
        # Random biases, norms and scalars too: a zero or a one hides a missing term.
        if value.dtype.is_floating_point and value.ndim <= 1:
            value = value + 0.1 * torch.randn(value.shape, generator=generator)
        # As initialised, attention is nearly uniform and would hide a wrong scale or mask.
        elif value.dtype.is_floating_point and not key.endswith("in_proj_weight"):
            value = 2 * value
        state[key] = value.to(dtype).float().contiguous().clone() if value.dtype.is_floating_point else value
    for model in models.values():
        missing, _ = model.load_state_dict(state, strict=False)
        assert not missing, missing
        model.eval()
    return models, state, generator


def make_inputs(config, batch, generator):
    """Texts of several lengths, padded on the right with id 1, and noise for pictures."""
    ids = torch.randint(5, config.text_config.vocab_size, (batch, TEXT_TOKENS), generator=generator)
    ids[:, 0] = 0
    for row in range(batch):
        length = TEXT_TOKENS - 2 * row
        ids[row, length - 1] = 2
        ids[row, length:] = 1
    side = config.vision_config.image_size
    pixels = torch.randn(batch, 3, side, side, generator=generator)
    return dict(input_ids=ids, attention_mask=(ids != 1).long(), pixel_values=pixels)


@torch.no_grad()
def expected_tensors(models, inputs, every_stage):
    body = models["itm"].bridgetower(**inputs, output_hidden_states=True, return_dict=True)
    text, image, cross = body.hidden_states
    expected = dict(inputs)
    if every_stage:
        for i, states in enumerate(text):
            expected[f"text_hidden.{i}"] = states
        for i, states in enumerate(image):
            expected[f"image_hidden.{i}"] = states.permute(1, 0, 2)  # transformers keeps tokens first
        for i, (text_states, image_states) in enumerate(cross):
            expected[f"cross_text.{i}"], expected[f"cross_image.{i}"] = text_states, image_states
        expected["mlm_logits"] = models["mlm"](**inputs, return_dict=True).logits
    expected["pooler_output"] = body.pooler_output
    expected["itm_logits"] = models["itm"](**inputs, return_dict=True).logits
    if "itc" in models:
        out = models["itc"](**inputs, return_dict=True)
        for name in ("text_embeds", "image_embeds", "cross_embeds"):
            expected[name] = out[name]
    return {k: (v.float() if v.dtype.is_floating_point else v).contiguous() for k, v in expected.items()}


def write_preprocessor(folder, config):
    side, patch = config.vision_config.image_size, config.vision_config.patch_size
    settings = dict(
        image_processor_type="BridgeTowerImageProcessor",
        size=dict(shortest_edge=side), crop_size=dict(shortest_edge=side), size_divisor=patch if patch == 14 else 32,
        do_resize=True, do_center_crop=True, do_rescale=True, do_normalize=True, do_pad=True,
        resample=3, rescale_factor=1 / 255,
        image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711],
    )
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def build(name, out, seed):
    case = DEFAULTS | CASES[name]
    config = make_config(case)
    models, state, generator = make_models(config, case["dtype"], seed)
    inputs = make_inputs(config, case["batch"], generator)
    expected = expected_tensors(models, inputs, every_stage=name not in FULL_SIZE)

    folder = Path(out) / name
    folder.mkdir(parents=True, exist_ok=True)
    stored = {k: v.to(case["dtype"]) if v.dtype.is_floating_point else v for k, v in state.items()}
    WRITERS[case["form"]](folder, stored)
    save_file(expected, folder / "expected.safetensors")
    config.architectures = [type(model).__name__ for model in models.values()][-1:]
    config.save_pretrained(folder)
    write_preprocessor(folder, config)
    if case["tokenizer"]:
        write_toy_tokenizer(folder / "tokenizer.json", case["vocab"])
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: {sum(v.numel() for v in state.values()):,} parameters, {size:,} bytes", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name in [args.only] if args.only else [n for n in CASES if n not in FULL_SIZE]:
        build(name, args.out, args.seed)
