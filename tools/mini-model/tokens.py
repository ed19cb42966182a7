"""The tokenizer: byte-level BPE with RoBERTa's special tokens; lower case and the space before are inside tokenizer.json."""
import json
import pickle

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import art
import captions

ENTRIES = 4000
FOLDER = art.WORK / "tok"


def texts():
    """Captions as they are learnt, and the names and keywords of everything, so that unknown words split sensibly."""
    with open(art.WORK / "train.pkl", "rb") as f:
        for true, false, _, _ in pickle.load(f)[:40_000]:
            yield from true
            yield from (t for t, _ in false)
    for concept in art.load()[0]:
        for name in concept["names"]:
            yield from ["a " + name, captions.plural(name)] * 4
        for _, label, tags in concept["emoji"]:
            yield from [" ".join(tags), label] * 4
    for emoji in json.loads((art.NPM / "emojibase-data/en/data.json").read_text()):
        yield emoji["label"]
        yield " ".join(emoji.get("tags", []))


def learn():
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(texts(), trainers.BpeTrainer(
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
