//! The threads that run a model: one for texts, one for pictures and everything else, so that nobody waits
//! for a vector behind somebody's reranking. What concurrently running queries ask comes over channels, and
//! what has come together runs as one batch. What the model made of texts and pictures is kept, within
//! bounds in bytes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bt_model::{PictureStates, Pixels, TextEmbedding};
use bt_query::{Error, Look, Result};
use bt_store::ContentHash;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use moka::sync::Cache;

use super::Ticket;

pub(crate) use bt_query::Models;

/// A model behind its threads.
pub(crate) struct Model {
    models: Arc<Models>,
    // Bounded by the number of workers, and by what one request may ask at once.
    for_texts: Sender<Ask>,
    for_others: Sender<Ask>,
    texts: Cache<String, TextEmbedding>,
    states: Cache<ContentHash, PictureStates>,
}

/// A question, who asks, and where the answer goes.
struct Ask {
    ticket: Ticket,
    what: What,
}

enum What {
    Text(String, Reply<TextEmbedding>),
    Picture(Pixels, Reply<Vec<f32>>),
    Match(Matching),
    Other(Work),
}

impl Model {
    /// Starts the threads. `max_batch`: most texts or pictures that go through together; `cache_bytes`: what
    /// is kept of pictures (most of it) and of texts.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        models: Models,
        max_batch: usize,
        cache_bytes: u64,
    ) -> std::io::Result<Self> {
        let models = Arc::new(models);
        let weight = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let states: Cache<ContentHash, PictureStates> = Cache::builder()
            .max_capacity(cache_bytes)
            .weigher(move |_, states: &PictureStates| weight(states.bytes() + 64))
            .build();
        let texts = Cache::builder()
            .max_capacity(cache_bytes / 16)
            .weigher(move |text: &String, embedded: &TextEmbedding| {
                weight(text.len() + 4 * embedded.vector.len() + 128)
            })
            .build();
        let start = |name: &str, threads: Option<usize>| {
            let (asks, asked) = unbounded();
            let serving = Serving {
                models: Arc::clone(&models),
                max_batch: max_batch.max(1),
                states: states.clone(),
            };
            std::thread::Builder::new()
                .name(name.into())
                .spawn(move || {
                    let _pool = threads.and_then(few_threads);
                    serving.run(&asked);
                })
                .map(|_| asks)
        };
        let wide = models.embedder().model().config().hidden_size / NARROW;
        Ok(Self {
            for_texts: start("texts", Some(wide.max(1)))?,
            for_others: start("pictures", None)?,
            models,
            texts,
            states,
        })
    }

    /// What can be read off the model without running it.
    pub(crate) fn models(&self) -> &Models {
        &self.models
    }

    /// The vectors of texts, in order. All are asked before the first answer is awaited, so that they go
    /// through together.
    pub(crate) fn texts(&self, ticket: &Ticket, texts: &[&str]) -> Result<Vec<TextEmbedding>> {
        let asked: Vec<Result<TextEmbedding, (&str, Answer<TextEmbedding>)>> = texts
            .iter()
            .map(|&text| {
                if let Some(known) = self.texts.get(text) {
                    hit("texts");
                    return Ok(Ok(known));
                }
                missed("texts");
                let answer = self.ask(ticket, |reply| What::Text(text.to_owned(), reply))?;
                Ok(Err((text, answer)))
            })
            .collect::<Result<_>>()?;
        let answers = asked.into_iter().map(|known| match known {
            Ok(known) => Ok(known),
            Err((text, answer)) => {
                let embedded = answer.wait(ticket)?;
                self.texts.insert(text.to_owned(), embedded.clone());
                Ok(embedded)
            }
        });
        answers.collect()
    }

    /// The vectors of pictures, in order, as [`Model::texts`].
    pub(crate) fn pictures(&self, ticket: &Ticket, pictures: Vec<Pixels>) -> Result<Vec<Vec<f32>>> {
        let asked: Vec<Answer<Vec<f32>>> = pictures
            .into_iter()
            .map(|pixels| self.ask(ticket, |reply| What::Picture(pixels, reply)))
            .collect::<Result<_>>()?;
        asked
            .into_iter()
            .map(|answer| answer.wait(ticket))
            .collect()
    }

    /// What is kept of a picture.
    pub(crate) fn states(&self, id: ContentHash) -> Option<PictureStates> {
        let known = self.states.get(&id);
        if known.is_some() {
            hit("pictures");
        } else {
            missed("pictures");
        }
        known
    }

    /// ITM logit differences, a row a text.
    pub(crate) fn match_logits(
        &self,
        ticket: &Ticket,
        texts: &[&str],
        pictures: &[Look],
    ) -> Result<Vec<Vec<f32>>> {
        self.ask(ticket, |reply| {
            What::Match(Matching {
                texts: texts.iter().map(|&text| text.to_owned()).collect(),
                pictures: pictures.to_vec(),
                reply,
            })
        })?
        .wait(ticket)
    }

    /// Anything else that needs the model.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        ticket: &Ticket,
        work: impl FnOnce(&Models) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask(ticket, |reply| {
            What::Other(Box::new(move |models| {
                // Who has left does not wait for the answer.
                let _ = reply.send(work(models));
            }))
        })?
        .wait(ticket)
    }

    fn ask<T>(&self, ticket: &Ticket, what: impl FnOnce(Reply<T>) -> What) -> Result<Answer<T>> {
        if let Some(why) = ticket.over() {
            return Err(Error::Stopped(why));
        }
        let (reply, answer) = bounded(1);
        let ask = Ask {
            ticket: ticket.clone(),
            what: what(reply),
        };
        let thread = match ask.what {
            What::Text(..) => &self.for_texts,
            _ => &self.for_others,
        };
        thread.send(ask).map_err(|_| Error::Stopped(FAILED))?;
        Ok(Answer(answer))
    }
}

/// Why there is no answer when the thread dropped the question.
pub(crate) const FAILED: &str = "the model failed";

/// An answer that is coming.
struct Answer<T>(Receiver<Result<T>>);

impl<T> Answer<T> {
    fn wait(self, ticket: &Ticket) -> Result<T> {
        // The thread drops what nobody waits for, and what it was busy with when the model failed.
        self.0
            .recv()
            .unwrap_or_else(|_| Err(Error::Stopped(ticket.over().unwrap_or(FAILED))))
    }
}

fn hit(cache: &'static str) {
    metrics::counter!("bt_cache_hits_total", "cache" => cache).increment(1);
}

fn missed(cache: &'static str) {
    metrics::counter!("bt_cache_misses_total", "cache" => cache).increment(1);
}

/// Width of a model whose products over a few words are too small to be shared among threads: on a busy
/// machine waiting for the others took thirty times as long as the work.
const NARROW: usize = 256;

/// Makes this thread work with no more than so many, itself included, instead of all cores.
fn few_threads(threads: usize) -> Option<rayon::ThreadPool> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.min(cores))
        .use_current_thread()
        .build()
        .inspect_err(|error| tracing::warn!(%error, "texts are embedded with all threads"))
        .ok()
}

/// A thread's side.
struct Serving {
    models: Arc<Models>,
    max_batch: usize,
    states: Cache<ContentHash, PictureStates>,
}

/// Where an answer goes.
type Reply<T> = Sender<Result<T>>;
/// What is done with the models themselves.
type Work = Box<dyn FnOnce(&Models) + Send>;

/// What waits, by kind, in the order it came.
#[derive(Default)]
struct Waiting {
    texts: VecDeque<(Ticket, String, Reply<TextEmbedding>)>,
    pictures: VecDeque<(Ticket, Pixels, Reply<Vec<f32>>)>,
    matches: VecDeque<(Ticket, Matching)>,
    others: VecDeque<(Ticket, Work)>,
}

struct Matching {
    texts: Vec<String>,
    pictures: Vec<Look>,
    reply: Reply<Vec<Vec<f32>>>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.texts.is_empty()
            && self.pictures.is_empty()
            && self.matches.is_empty()
            && self.others.is_empty()
    }

    fn push(&mut self, Ask { ticket, what }: Ask) {
        match what {
            What::Text(text, reply) => self.texts.push_back((ticket, text, reply)),
            What::Picture(pixels, reply) => self.pictures.push_back((ticket, pixels, reply)),
            What::Match(matching) => self.matches.push_back((ticket, matching)),
            What::Other(work) => self.others.push_back((ticket, work)),
        }
    }

    /// The next questions that show at most so many pictures together, at least one: who came first does not
    /// wait for the pictures of many others.
    fn take_matches(&mut self, most: usize) -> Vec<(Ticket, Matching)> {
        let mut pictures = 0;
        let fits = self.matches.iter().take_while(|(_, matching)| {
            pictures += matching.pictures.len();
            pictures <= most
        });
        let count = fits.count().max(1);
        take(&mut self.matches, count)
    }

    /// Lets go of what nobody waits for.
    fn forget_the_gone(&mut self) {
        self.texts.retain(|(ticket, ..)| ticket.over().is_none());
        self.pictures.retain(|(ticket, ..)| ticket.over().is_none());
        self.matches.retain(|(ticket, _)| ticket.over().is_none());
        self.others.retain(|(ticket, _)| ticket.over().is_none());
    }
}

impl Serving {
    fn run(&self, asked: &Receiver<Ask>) {
        let mut waiting = Waiting::default();
        loop {
            if waiting.is_empty() {
                match asked.recv() {
                    Ok(ask) => waiting.push(ask),
                    Err(_) => return,
                }
            }
            asked.try_iter().for_each(|ask| waiting.push(ask));
            waiting.forget_the_gone();
            // A failure answers those that it concerns by dropping their channels; the next are served.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.one_batch(&mut waiting)));
            if outcome.is_err() {
                tracing::error!("the model failed unexpectedly");
            }
        }
    }

    fn one_batch(&self, waiting: &mut Waiting) {
        if !waiting.texts.is_empty() {
            let batch = take(&mut waiting.texts, self.max_batch);
            size("texts", batch.len());
            let texts: Vec<&str> = batch.iter().map(|(_, text, _)| text.as_str()).collect();
            let embedder = self.models.embedder();
            let done = each(&texts, |texts| Ok(embedder.embed_texts(texts)?));
            answer(batch.into_iter().map(|(_, _, reply)| reply), done);
        } else if !waiting.pictures.is_empty() {
            let batch = take(&mut waiting.pictures, self.max_batch);
            size("pictures", batch.len());
            let pictures: Vec<&Pixels> = batch.iter().map(|(_, pixels, _)| pixels).collect();
            let embedder = self.models.embedder();
            let done = each(&pictures, |pictures| Ok(embedder.embed_pictures(pictures)?));
            answer(batch.into_iter().map(|(_, _, reply)| reply), done);
        } else if !waiting.matches.is_empty() {
            self.match_all(waiting.take_matches(self.max_batch));
        } else if let Some((_, work)) = waiting.others.pop_front() {
            work(&self.models);
        }
    }

    /// The states of all pictures that queries want to see are made together, each picture once; then each
    /// query's texts are matched with its pictures.
    fn match_all(&self, batch: Vec<(Ticket, Matching)>) {
        let mut known: HashMap<ContentHash, PictureStates> = HashMap::new();
        let mut fresh: BTreeMap<ContentHash, &Pixels> = BTreeMap::new();
        for look in batch.iter().flat_map(|(_, matching)| &matching.pictures) {
            if let Look::Fresh { id, pixels } = look {
                match self.states.get(id) {
                    Some(states) => drop(known.insert(*id, states)),
                    None => drop(fresh.insert(*id, pixels)),
                }
            }
        }
        let (ids, pixels): (Vec<ContentHash>, Vec<&Pixels>) = fresh.into_iter().unzip();
        for (ids, pixels) in ids
            .chunks(self.max_batch)
            .zip(pixels.chunks(self.max_batch))
        {
            if batch.iter().all(|(ticket, _)| ticket.over().is_some()) {
                break;
            }
            size("states", pixels.len());
            // Whom a failure concerns sees it again below.
            if let Ok(made) = self.models.matcher().picture_states(pixels) {
                for (id, states) in ids.iter().zip(made) {
                    self.states.insert(*id, states.clone());
                    known.insert(*id, states);
                }
            }
        }
        size("matches", batch.len());
        for (ticket, matching) in batch {
            let _ = matching
                .reply
                .send(self.match_one(&ticket, &matching, &known));
        }
    }

    /// As many pictures at a time as go through together, as long as somebody waits for them.
    fn match_one(
        &self,
        ticket: &Ticket,
        matching: &Matching,
        known: &HashMap<ContentHash, PictureStates>,
    ) -> Result<Vec<Vec<f32>>> {
        let looks: Vec<Look> = matching
            .pictures
            .iter()
            .map(|look| match look {
                Look::Fresh { id, .. } => known
                    .get(id)
                    .map_or_else(|| look.clone(), |states| Look::Known(states.clone())),
                Look::Known(_) => look.clone(),
            })
            .collect();
        let texts: Vec<&str> = matching.texts.iter().map(String::as_str).collect();
        let mut rows = vec![Vec::with_capacity(looks.len()); texts.len()];
        for looks in looks.chunks(self.max_batch) {
            if let Some(why) = ticket.over() {
                return Err(Error::Stopped(why));
            }
            let logits = bt_query::Scorer::match_logits(&*self.models, &texts, looks)?;
            for (row, logits) in rows.iter_mut().zip(logits) {
                row.extend(logits);
            }
        }
        Ok(rows)
    }
}

fn take<T>(queue: &mut VecDeque<T>, most: usize) -> Vec<T> {
    queue.drain(..queue.len().min(most)).collect()
}

fn size(kind: &'static str, batch: usize) {
    if batch > 0 {
        metrics::histogram!("bt_batch_size", "kind" => kind).record(batch as f64);
    }
}

/// Runs a batch; when it fails, each alone, so that one bad input costs only itself.
fn each<I: Copy, T>(inputs: &[I], run: impl Fn(&[I]) -> Result<Vec<T>>) -> Vec<Result<T>> {
    match run(inputs) {
        Ok(all) if all.len() == inputs.len() => all.into_iter().map(Ok).collect(),
        _ => inputs
            .iter()
            .map(|input| {
                let alone = run(&[*input])?.into_iter().next();
                alone.ok_or(Error::NoDirection)
            })
            .collect(),
    }
}

fn answer<T>(replies: impl Iterator<Item = Reply<T>>, done: Vec<Result<T>>) {
    for (reply, done) in replies.zip(done) {
        // Who has left does not wait for the answer.
        let _ = reply.send(done);
    }
}
