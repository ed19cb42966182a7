//! Text to token ids: RoBERTa's byte-level BPE, from tokenizer.json or from vocab.json and merges.txt.
//! Batches of ids with their padding are `token_batch.rs`'s.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as Bpe};

use crate::checkpoint::{Checkpoint, TokenizerFiles};
use crate::error::{Error, Result};

/// A token's share of a text is never cut so short that this many bytes a token could matter.
const MOST_BYTES_A_TOKEN: usize = 256;

/// Reads texts as the model was taught to.
#[derive(Debug)]
pub(crate) struct Tokenizer {
    bpe: Bpe,
    first: u32,
    last: u32,
    mask: Option<u32>,
    max_tokens: usize,
}

/// One text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// `<s>`, the text, `</s>`.
    pub(crate) ids: Vec<u32>,
    /// Where in the text each id comes from, in bytes; empty for the first and the last.
    pub(crate) spans: Vec<Range<usize>>,
    /// Whether the text was longer than the model's limit.
    pub(crate) truncated: bool,
}

impl Tokenizer {
    /// `max_tokens`: with first and last. `vocab_size`: ids that the model knows.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        max_tokens: usize,
        vocab_size: usize,
    ) -> Result<Self> {
        let (bpe, path) = match checkpoint.tokenizer_files()? {
            TokenizerFiles::Whole(text) => {
                let path = checkpoint.folder().join("tokenizer.json");
                let bpe = Bpe::from_bytes(text.as_bytes())
                    .map_err(|cause| bad(&path, format!("not a tokenizer: {cause}")))?;
                (bpe, path)
            }
            TokenizerFiles::VocabAndMerges { vocab, merges } => (
                from_vocab_and_merges(vocab, merges, checkpoint)?,
                checkpoint.folder().join("vocab.json"),
            ),
        };
        Self::new(bpe, max_tokens, vocab_size).map_err(|what| bad(&path, what))
    }

    fn new(
        mut bpe: Bpe,
        max_tokens: usize,
        vocab_size: usize,
    ) -> std::result::Result<Self, String> {
        // What a file says about these is about somebody's training; here the model's limit decides.
        bpe.with_truncation(None)
            .map_err(|cause| cause.to_string())?;
        bpe.with_padding(None);
        let id = |token: &str| {
            bpe.token_to_id(token)
                .ok_or_else(|| format!("it has no token `{token}`"))
        };
        let (first, last, mask) = (id("<s>")?, id("</s>")?, bpe.token_to_id("<mask>"));
        if let Some((token, id)) = bpe.get_vocab(true).into_iter().max_by_key(|(_, id)| *id)
            && id as usize >= vocab_size
        {
            return Err(format!(
                "token `{token}` has the number {id}, but the model knows {vocab_size} tokens"
            ));
        }
        Ok(Self {
            bpe,
            first,
            last,
            mask,
            max_tokens,
        })
    }

    /// Ids and spans of a text, cut to the model's limit; the last token stays the last.
    pub(crate) fn encode(&self, text: &str) -> Result<Tokens> {
        // A text far beyond the limit is cut before it is split, or its length would be paid for in full.
        let mut end = text.len().min(self.max_tokens * MOST_BYTES_A_TOKEN);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let encoding = self.bpe.encode(&text[..end], false).map_err(|cause| {
            Error::Usage(format!("the text cannot be split into tokens: {cause}"))
        })?;
        let room = self.max_tokens - 2;
        let kept = encoding.len().min(room);
        let mut ids = Vec::with_capacity(kept + 2);
        ids.push(self.first);
        ids.extend_from_slice(&encoding.get_ids()[..kept]);
        ids.push(self.last);
        let mut spans = Vec::with_capacity(kept + 2);
        spans.push(0..0);
        spans.extend(
            encoding.get_offsets()[..kept]
                .iter()
                .map(|&(start, end)| start..end),
        );
        spans.push(0..0);
        Ok(Tokens {
            ids,
            spans,
            truncated: end < text.len() || encoding.len() > room,
        })
    }

    /// Id of `<mask>`.
    pub(crate) fn mask(&self) -> Option<u32> {
        self.mask
    }

    /// The text of one id, with the space that it begins with.
    pub(crate) fn decode(&self, id: u32) -> String {
        self.bpe.decode(&[id], false).unwrap_or_default()
    }
}

fn bad(path: &std::path::Path, what: String) -> Error {
    Error::BadFile {
        path: path.to_owned(),
        what,
    }
}

/// RoBERTa's tokenizer as transformers builds it from these two files.
fn from_vocab_and_merges(vocab: &str, merges: &str, checkpoint: &Checkpoint) -> Result<Bpe> {
    let vocab_path: PathBuf = checkpoint.folder().join("vocab.json");
    let merges_path: PathBuf = checkpoint.folder().join("merges.txt");
    let vocab: HashMap<String, u32> = serde_json::from_str(vocab)
        .map_err(|cause| bad(&vocab_path, format!("not a vocabulary: {cause}")))?;
    let mut pairs = Vec::new();
    for (i, line) in merges.lines().enumerate() {
        if line.starts_with("#version") || line.is_empty() {
            continue;
        }
        let (left, right) = line.split_once(' ').ok_or_else(|| {
            bad(
                &merges_path,
                format!("line {} is not two tokens with a space between", i + 1),
            )
        })?;
        pairs.push((left.to_owned(), right.to_owned()));
    }
    let special = |token: &str| AddedToken::from(token, true);
    let known: Vec<AddedToken> = ["<s>", "<pad>", "</s>", "<unk>"]
        .into_iter()
        .filter(|token| vocab.contains_key(*token))
        .map(special)
        .chain(
            vocab
                .contains_key("<mask>")
                .then(|| special("<mask>").lstrip(true)),
        )
        .collect();
    let model = BPE::builder()
        .vocab_and_merges(
            vocab
                .into_iter()
                .collect::<tokenizers::models::bpe::Vocab>(),
            pairs,
        )
        .build()
        .map_err(|cause| {
            bad(
                &merges_path,
                format!("does not go with vocab.json: {cause}"),
            )
        })?;
    let mut bpe = Bpe::new(model);
    bpe.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    bpe.with_decoder(Some(ByteLevel::default()));
    bpe.with_post_processor(Some(ByteLevel::new(false, true, true)));
    bpe.add_special_tokens(known)
        .map_err(|cause| bad(&vocab_path, cause.to_string()))?;
    Ok(bpe)
}
