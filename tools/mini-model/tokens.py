"""The tokenizer: byte-level BPE with RoBERTa's special tokens; lower case and the space before are inside tokenizer.json."""
import json
import random

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import art
import captions
import scenes

ENTRIES = 4000
LENGTH = 24  # ids of a caption, at most
PAD = 1
FOLDER = art.WORK / "tok"


def texts(world):
    """Captions as they are learnt, and the names and keywords of everything, so that unknown words split sensibly."""
    r = random.Random(31)
    for _ in range(40_000):
        spec = scenes.spec(world, r)
        yield from (captions.caption(world, spec, r) for _ in range(7))
    for concept in world.concepts:
        for name in concept["names"]:
            yield from ["a " + name, captions.plural(name)] * 4
        for _, label, tags in concept["emoji"]:
            yield from [" ".join(tags), label] * 4
    for emoji in json.loads((art.NPM / "emojibase-data/en/data.json").read_text()):
        yield emoji["label"]
        yield " ".join(emoji.get("tags", []))


def learn(world):
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(texts(world), trainers.BpeTrainer(
        vocab_size=ENTRIES - 1, min_frequency=2, special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    t.save(str(FOLDER / "tokenizer.json"))
    mask = dict(content="<mask>", lstrip=True, rstrip=False, normalized=False, single_word=False)
    special = dict(bos_token="<s>", eos_token="</s>", sep_token="</s>", cls_token="<s>", unk_token="<unk>", pad_token="<pad>")
    (FOLDER / "special_tokens_map.json").write_text(json.dumps(dict(special, mask_token=mask), indent=1))
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(dict(
        tokenizer_class="PreTrainedTokenizerFast", **special, mask_token=dict(__type="AddedToken", **mask, special=True),
        add_prefix_space=True, model_max_length=64, clean_up_tokenization_spaces=False), indent=1))
    print("vocabulary", t.get_vocab_size(), t.encode("A Cat on a COUCH").tokens, flush=True)


def load():
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def ids_of(tokenizer, texts):
    """int16 [n, LENGTH], padded"""
    tokenizer.enable_truncation(LENGTH)
    out = np.full((len(texts), LENGTH), PAD, np.int16)
    for row, e in zip(out, tokenizer.encode_batch(texts)):
        row[:len(e.ids)] = e.ids
    return out
