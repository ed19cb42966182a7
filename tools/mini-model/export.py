"""Writes a model folder from a training file, and the reference tensors that transformers computes with it."""
import json
import os
import shutil
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    BridgeTowerForContrastiveLearning,
    BridgeTowerForImageAndTextRetrieval,
    BridgeTowerForMaskedLM,
)
from transformers import BridgeTowerImageProcessorPil as ImageProcessor

import art
import model
import tokens

DEAD = {  # of no effect on the graph, or true of every checkpoint
    "_name_or_path", "transformers_version", "output_attentions", "output_hidden_states", "return_dict", "problem_type",
    "id2label", "label2id", "chunk_size_feed_forward", "is_encoder_decoder", "add_cross_attention", "is_decoder",
    "use_cache", "attn_implementation", "_attn_implementation_autoset",
}
PICTURES = ["home/IMG_0012.jpg", "sports/IMG_0030.png", "home/IMG_0054.webp"]  # JPEG, PNG and WebP of samples/
MASKED = 2  # position whose word MLM is asked for


def alive(fields):
    return {k: alive(v) if isinstance(v, dict) else v for k, v in fields.items() if k not in DEAD and v is not None}


def of_model(average):
    """The weights of the model among those of training."""
    return {k.removeprefix("mini."): v.float().cpu().contiguous() for k, v in average.items() if k.startswith("mini.")}


def write_weights(average, folder, part=14 << 20):
    """model.safetensors in f16, and average-N.safetensors in f32, each at most `part` bytes large."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights, parts, size = of_model(average), [{}], 0
    for k, v in weights.items():
        size += v.nbytes
        if size > part:
            parts.append({})
            size = v.nbytes
        parts[-1][k] = v
    files = {f"average-{i}.safetensors": p for i, p in enumerate(parts, 1)}
    files["model.safetensors"] = {k: v.half() for k, v in weights.items()}
    for name, tensors in files.items():
        save_file(tensors, folder / f"{name}.new", metadata={"format": "pt"})
        os.replace(folder / f"{name}.new", folder / name)


def write_model(name, folder):
    """models/mini of WORK/NAME.pt, or of the folder that train.py --out wrote: the averaged weights as f16,
    configuration, tokenizer."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if Path(name).is_dir():
        weights = load_file(Path(name) / "model.safetensors")
    else:
        average = torch.load(art.WORK / f"{name}.pt", weights_only=True, map_location="cpu")["average"]
        weights = {k: v.half() for k, v in of_model(average).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    c = model.config(weights["mlm_score.decoder.weight"].shape[0])
    c.architectures, c.dtype = ["BridgeTowerForContrastiveLearning"], "float16"
    fields = alive(json.loads(c.to_json_string(use_diff=False)))
    fields["contrastive_hidden_size"], fields["logit_scale_init_value"] = model.EMBEDDING, model.LOGIT_SCALE
    (folder / "config.json").write_text(json.dumps(fields, indent=2, sort_keys=True))
    (folder / "preprocessor_config.json").write_text(json.dumps(dict(
        image_processor_type="BridgeTowerImageProcessor", do_resize=True, size=dict(shortest_edge=model.SIDE),
        size_divisor=2, resample=3, do_rescale=True, rescale_factor=1 / 255, do_normalize=True, image_mean=model.MEAN,
        image_std=model.STD, do_center_crop=True, crop_size=dict(shortest_edge=model.SIDE), do_pad=True), indent=2))
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(tokens.FOLDER / file, folder / file)


def reference(folder, pictures, texts):
    """What transformers' three classes compute in f32: row = picture, column = text."""
    loaded = []
    for kind in (BridgeTowerForContrastiveLearning, BridgeTowerForImageAndTextRetrieval, BridgeTowerForMaskedLM):
        m, info = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        if info["missing_keys"] or info["mismatched_keys"]:
            raise SystemExit(f"{folder}: {info}")
        loaded.append(m.float().eval())
    itc, itm, mlm = loaded
    tokenizer, processor = AutoTokenizer.from_pretrained(folder), ImageProcessor.from_pretrained(folder)
    pixels = processor([Image.open(p).convert("RGB") for p in pictures], return_tensors="pt")["pixel_values"].float()
    t = tokenizer(texts, padding=True, return_tensors="pt")
    ids, mask = t["input_ids"], t["attention_mask"]
    n, m = len(pictures), len(texts)
    i, j = torch.arange(n).repeat_interleave(m), torch.arange(m).repeat(n)
    masked = ids.clone()
    masked[:, MASKED] = tokenizer.mask_token_id
    with torch.no_grad():
        pairs = dict(input_ids=ids[j], attention_mask=mask[j], pixel_values=pixels[i])
        embedded, logits = itc(**pairs), itm(**pairs).logits
        words = mlm(input_ids=masked[:n], attention_mask=mask[:n], pixel_values=pixels).logits[:, MASKED]
    out = dict(
        input_ids=ids, attention_mask=mask, pixel_values=pixels, mlm_input_ids=masked, mlm_logits_at_2=words,
        text_embeds=embedded.text_embeds[:m], image_embeds=embedded.image_embeds[::m],
        cross_embeds=embedded.cross_embeds.reshape(n, m, -1), itm_logits=logits.reshape(n, m, 2),
        logit_scale=itc.logit_scale.detach().reshape(1))
    return {k: v.clone().contiguous() for k, v in out.items()}


def write_golden(folder, samples, out):
    """tests/golden/mini: three pictures of the album, each with its first caption."""
    captions = json.loads((Path(samples) / "samples.json").read_text())
    texts = [captions[p]["captions"][0] for p in PICTURES]
    tensors = reference(folder, [Path(samples) / p for p in PICTURES], texts)
    Path(out).mkdir(parents=True, exist_ok=True)
    note = "f32 from the f16 weights; row i = picture, column j = text; pixel_values by the PIL processor"
    save_file(tensors, Path(out) / "expected.safetensors",
              metadata=dict(pictures=json.dumps(PICTURES), texts=json.dumps(texts), note=note))
