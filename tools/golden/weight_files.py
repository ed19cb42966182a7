"""The forms in which public checkpoints keep their weights."""
import json

import torch
from safetensors.torch import save_file


def write_safetensors(folder, state):
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def write_sharded(folder, state):
    """Three files of about equal length, with the index that says which tensor is where."""
    total = sum(v.numel() * v.element_size() for v in state.values())
    shards, filled = [{}], 0
    for key, value in state.items():
        if filled > total * len(shards) / 3:
            shards.append({})
        shards[-1][key] = value
        filled += value.numel() * value.element_size()
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map.update({key: file for key in shard})
    index = dict(metadata=dict(total_size=total), weight_map=weight_map)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


def write_bin(folder, state):
    """torch.save of the state, with the integer buffers that the public files of 2023 still hold."""
    position = state["bridgetower.text_model.embeddings.position_embeddings.weight"].shape[0]
    patches = state["bridgetower.vision_model.visual.embeddings.position_embedding.weight"].shape[0]
    buffers = {
        "bridgetower.text_model.embeddings.position_ids": torch.arange(position)[None],
        "bridgetower.text_model.embeddings.token_type_ids": torch.zeros(1, position, dtype=torch.long),
        "bridgetower.vision_model.visual.embeddings.position_ids": torch.arange(patches)[None],
    }
    torch.save(state | buffers, folder / "pytorch_model.bin")


WRITERS = dict(safetensors=write_safetensors, sharded=write_sharded, bin=write_bin)
