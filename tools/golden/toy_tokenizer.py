"""A byte-level BPE tokenizer in RoBERTa's layout, with a vocabulary small enough for the golden checkpoints."""
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

# "\u0120" is how byte-level BPE writes a space.
WORDS = "\u0120a \u0120the \u0120on \u0120in \u0120red \u0120blue \u0120cat \u0120dog \u0120sky \u0120box".split()


def write_toy_tokenizer(path, vocab_size):
    letters = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,'-!?") + ["\u0120"]
    tokens = ["<s>", "<pad>", "</s>", "<unk>"] + letters
    merges = []
    for word in WORDS:
        for end in range(2, len(word) + 1):
            left, right = word[: end - 1], word[end - 1]
            if word[:end] not in tokens:
                merges.append((left, right))
                tokens.append(word[:end])
    assert len(tokens) < vocab_size, len(tokens)
    tokens += [f"<unused{i}>" for i in range(vocab_size - 1 - len(tokens))] + ["<mask>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)])
    tokenizer.save(str(path))
