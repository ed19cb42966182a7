//! Four stages side by side, joined by bounded channels:
//!
//! ```text
//! walk --1024 files--> read + decode (t threads) --2 b pictures--> embed (g devices) --256--> commit
//! ```
//!
//! **The bound.** However many files there are, and however large, the stages together hold at most
//!
//! ```text
//! max(t x (ORDINARY_BYTES + ORDINARY_FILE), most_decode + MOST_FILE)    files and decoded pictures
//!   + ((2 + 2 g) b + t) x 12 side^2                                     pictures ready for the model
//!   + (COMMIT_MOST + 2 g b + 256) x (4 dim + record)                    embeddings not yet committed
//! ```
//!
//! bytes beside the models: t decoding threads, b pictures a batch, g devices (the processor, or all GPUs)
//! with two batches each (one computed, one on its way), `side` the edge of the model's square,
//! `dim` the length of an embedding, `most_decode` the limit given to the decoder. The first line is a
//! [`Budget`]: a thread holds a permit for the bytes of its file and for what the decoder is told it may
//! take. A picture that asks for more than the ordinary is put back, and read again once a permit for
//! the most is to be had. (Beside these, a run keeps a path for each file that failed, for its report.)
//!
//! **The end.** A sender that is dropped is the only way to say "done". A stage that fails, or panics,
//! sends its error to the last stage, which stops receiving; the others notice, each at its channel.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bt_model::{Encoder, Pixels, Started};
use bt_picture::Limits;
use bt_store::{ContentHash, Location};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::about;
use crate::budget::Budget;
use crate::caption;
use crate::commit::{Committer, Embedded, Found, Message, Subject};
use crate::error::{Error, Result};
use crate::identify::{self, Content};
use crate::ledger::{Claim, Ledger};
use crate::model::LazyModel;
use crate::outcome::{FileError, Outcome};
use crate::walk::Step;

/// A file of ordinary size.
const ORDINARY_FILE: u64 = 32 << 20;
/// A larger file is not read.
const MOST_FILE: u64 = 1 << 30;
/// Files found that wait for a decoding thread.
const FILES_AHEAD: usize = 1024;
/// Messages that wait for the commit stage.
const MESSAGES_AHEAD: usize = 256;
/// An unfilled batch waits so long for further pictures.
const BATCH_PATIENCE: Duration = Duration::from_millis(20);

/// How much is done at once, and how much a picture may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Threads that read and decode; at least one.
    pub threads: usize,
    /// Pictures that the model embeds at once, at least one; none: as the device likes it.
    pub batch_size: Option<usize>,
    /// What decoding one picture may take.
    pub limits: Limits,
}

impl Default for Resources {
    /// All cores, batches as the device likes them.
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            batch_size: None,
            limits: Limits::default(),
        }
    }
}

impl Resources {
    fn bytes_in_flight(&self) -> u64 {
        let threads = self.threads.max(1) as u64;
        (threads * (Limits::ORDINARY_BYTES + ORDINARY_FILE)).max(self.limits.max_bytes + MOST_FILE)
    }
}

/// Gives every file to a visitor; stops when the visitor says so, or when asked to.
pub(crate) type Walk<'a> =
    &'a (dyn Fn(&mut dyn FnMut(Step) -> ControlFlow<()>) -> ControlFlow<()> + Sync);

/// Takes every file of a walk to its end.
pub(crate) fn run(
    walk: Walk<'_>,
    model: &LazyModel,
    resources: &Resources,
    stop: &AtomicBool,
    committer: &mut Committer<'_, '_>,
) -> Result<()> {
    let (ledger, found) = (committer.ledger, committer.found);
    let budget = Budget::new(resources.bytes_in_flight());
    let batch_size = resources.batch_size.unwrap_or(model.batch_size()).max(1);
    std::thread::scope(|scope| {
        let (file_sender, files) = bounded(FILES_AHEAD);
        let (picture_sender, pictures) = bounded(2 * batch_size);
        let (messages, inbox) = bounded(MESSAGES_AHEAD);
        spawn(scope, "walking", &messages, move |messages| {
            stage_walk(walk, found, &file_sender, messages);
            Ok(())
        });
        for _ in 0..resources.threads.max(1) {
            let (files, pictures) = (files.clone(), picture_sender.clone());
            let budget = &budget;
            let limits = resources.limits;
            spawn(scope, "decoding", &messages, move |messages| {
                let reader = Decoding {
                    ledger,
                    model,
                    budget,
                    limits,
                    pictures,
                    messages,
                };
                reader.run(&files, stop)
            });
        }
        for device in 0..model.devices() {
            let pictures = pictures.clone();
            spawn(scope, "embedding", &messages, move |messages| {
                let embedding = Embedding {
                    model,
                    device,
                    batch_size,
                    messages,
                };
                embedding.run(&pictures, stop)
            });
        }
        // Only the stages hold senders and receivers now: the channels close when the stages end.
        drop((files, picture_sender, pictures, messages));
        committer.receive(&inbox)
    })
}

/// Starts a stage; its error, or that it panicked, becomes the last message.
fn spawn<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    name: &'static str,
    messages: &Sender<Message>,
    stage: impl FnOnce(&Sender<Message>) -> Result<()> + Send + 'scope,
) {
    let messages = messages.clone();
    scope.spawn(move || {
        // What a stage shares with others is behind locks that stay consistent.
        let result = catch_unwind(AssertUnwindSafe(|| stage(&messages)));
        if let Err(error) = result.unwrap_or(Err(Error::StageDied(name))) {
            // Nobody listens any more when another stage failed first.
            let _ = messages.send(Message::Fatal(error));
        }
    });
}

fn stage_walk(walk: Walk<'_>, found: &Found, files: &Sender<Location>, messages: &Sender<Message>) {
    let done = walk(&mut |step| {
        let sent = match step {
            Step::File(file) => {
                found.files.fetch_add(1, Ordering::Relaxed);
                files.send(file).is_ok()
            }
            Step::Warning(warning) => messages.send(Message::Warning(warning)).is_ok(),
            Step::Failed(FileError { path, reason }) => {
                found.files.fetch_add(1, Ordering::Relaxed);
                let outcome = Outcome::Failed(reason);
                messages.send(Message::Ended { path, outcome }).is_ok()
            }
        };
        if sent {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    found.walked.store(done.is_continue(), Ordering::Relaxed);
}

/// A picture that is ready for the model. Record and pixels travel as one value.
struct Prepared {
    subject: Subject,
    pixels: Pixels,
}

/// What a thread that reads and decodes works with.
struct Decoding<'a, 'w> {
    ledger: &'a Ledger<'w>,
    model: &'a LazyModel,
    budget: &'a Budget,
    limits: Limits,
    pictures: Sender<Prepared>,
    messages: &'a Sender<Message>,
}

/// How far a file came in one attempt.
enum Attempt {
    Message(Message),
    Prepared(Box<Prepared>),
    /// The decoder needs more memory than it was allowed.
    Large(ContentHash),
}

impl Decoding<'_, '_> {
    fn run(&self, files: &Receiver<Location>, stop: &AtomicBool) -> Result<()> {
        for file in files {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let sent = match self.treat(&file)? {
                Attempt::Prepared(picture) => self.pictures.send(*picture).is_ok(),
                Attempt::Message(message) => self.messages.send(message).is_ok(),
                Attempt::Large(_) => true,
            };
            if !sent {
                return Ok(());
            }
        }
        Ok(())
    }

    fn treat(&self, file: &Location) -> Result<Attempt> {
        if let Some(record) = self.ledger.unchanged(file)?
            && caption::is_current(&record.about, &record.locations)
        {
            return Ok(ended(file, Outcome::Unchanged));
        }
        let ordinary = self.limits.max_bytes.min(Limits::ORDINARY_BYTES);
        match self.attempt(file, ordinary, None)? {
            Attempt::Large(id) => self.attempt(file, self.limits.max_bytes, Some(id)),
            attempt => Ok(attempt),
        }
    }

    /// Reads a file, and decodes it if its bytes are new. `claimed`: the content hash that an earlier
    /// attempt has claimed for this file.
    fn attempt(
        &self,
        file: &Location,
        max_bytes: u64,
        claimed: Option<ContentHash>,
    ) -> Result<Attempt> {
        let _permit = self.budget.acquire(file.size.min(MOST_FILE) + max_bytes);
        let (bytes, id, location) = match identify::read(&file.path, file.size.min(MOST_FILE)) {
            Ok(Content::Picture {
                bytes,
                id,
                location,
            }) => (bytes, id, location),
            Ok(Content::Unsupported(format)) => {
                return Ok(no_picture(
                    file,
                    Outcome::Unsupported(format.into()),
                    claimed,
                ));
            }
            Ok(Content::NotAPicture) => {
                return Ok(no_picture(file, Outcome::NotAPicture, claimed));
            }
            Ok(Content::Misnamed(reason)) => {
                return Ok(no_picture(file, Outcome::Failed(reason), claimed));
            }
            Ok(Content::TooLarge(size)) if size > MOST_FILE => {
                let reason = format!("too large: {size} bytes, at most {MOST_FILE} are read");
                return Ok(no_picture(file, Outcome::Failed(reason), claimed));
            }
            Ok(Content::TooLarge(_)) => return Ok(growing(file, claimed)),
            Err(cause) => {
                return Ok(match (cause.kind(), claimed) {
                    (_, Some(_)) => no_picture(file, Outcome::Failed(reason_of(&cause)), claimed),
                    (std::io::ErrorKind::NotFound, None) => ended(file, Outcome::Gone),
                    (std::io::ErrorKind::WouldBlock, None) => growing(file, None),
                    (_, None) => ended(file, Outcome::Failed(reason_of(&cause))),
                });
            }
        };
        match claimed {
            Some(claimed) if claimed != id => return Ok(growing(file, Some(claimed))),
            Some(_) => {}
            None => match self.ledger.claim(&id)? {
                Claim::Yours => {}
                Claim::Known => {
                    let words = about::words(bt_picture::metadata(&bytes));
                    return Ok(Attempt::Message(Message::Seen {
                        id,
                        location,
                        words,
                    }));
                }
                Claim::Failed(reason) => {
                    return Ok(no_picture(file, Outcome::Failed(reason), None));
                }
            },
        }
        let encoder = self.encoder()?;
        let limits = Limits {
            max_bytes,
            ..self.limits
        };
        match bt_picture::decode(&bytes, &limits, Some(encoder.enough_pixels())) {
            Ok(picture) => {
                let metadata = bt_picture::metadata(&bytes);
                drop(bytes);
                let subject = Subject {
                    id,
                    location,
                    about: about::about(&picture, &metadata),
                    words: about::words(metadata),
                };
                let pixels = encoder.prepare(&picture.rgb);
                Ok(Attempt::Prepared(Box::new(Prepared { subject, pixels })))
            }
            Err(bt_picture::Error::TooLarge(_)) if max_bytes < self.limits.max_bytes => {
                Ok(Attempt::Large(id))
            }
            Err(bt_picture::Error::Unsupported(format)) => Ok(no_picture(
                file,
                Outcome::Unsupported(format.into()),
                Some(id),
            )),
            Err(error) => Ok(no_picture(
                file,
                Outcome::Failed(error.to_string()),
                Some(id),
            )),
        }
    }

    fn encoder(&self) -> Result<std::sync::Arc<Encoder>> {
        self.model.get(&mut |event| {
            // Nobody listens any more when another stage failed: then nobody misses it.
            let _ = self.messages.send(Message::Model(event));
        })
    }
}

/// The file changed while it was read. What was known of it stays, unless others wait for its bytes.
fn growing(file: &Location, claimed: Option<ContentHash>) -> Attempt {
    let outcome = Outcome::Failed(identify::BEING_WRITTEN.into());
    match claimed {
        None => ended(file, outcome),
        Some(_) => no_picture(file, outcome, claimed),
    }
}

/// What the operating system says, without the path that the report shows anyway.
fn reason_of(cause: &std::io::Error) -> String {
    let inner =
        std::error::Error::source(cause).map_or_else(|| cause.to_string(), ToString::to_string);
    format!("cannot be read: {inner}")
}

fn ended(file: &Location, outcome: Outcome) -> Attempt {
    let path = file.path.clone();
    Attempt::Message(Message::Ended { path, outcome })
}

fn no_picture(file: &Location, outcome: Outcome, claimed: Option<ContentHash>) -> Attempt {
    Attempt::Message(Message::NoPicture {
        path: file.path.clone(),
        outcome,
        claimed,
    })
}

/// What a thread that embeds works with: one for each device, and nobody else runs the model there.
struct Embedding<'a> {
    model: &'a LazyModel,
    device: usize,
    batch_size: usize,
    messages: &'a Sender<Message>,
}

/// Nobody listens any more when another stage failed: then this one ends, too.
type Heard = bool;

impl Embedding<'_> {
    /// Embeds what comes, in batches. A batch is fetched when the next one is on its way, or none waits.
    fn run(&self, pictures: &Receiver<Prepared>, stop: &AtomicBool) -> Result<()> {
        let mut running = None;
        while let Ok(first) = pictures.recv() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let batch = fill(first, pictures, self.batch_size);
            let encoder = self.model.get_on(self.device, &mut |_| {})?;
            let pixels: Vec<&Pixels> = batch.iter().map(|picture| &picture.pixels).collect();
            let started = encoder.start_pictures(&pixels)?;
            let subjects = batch.into_iter().map(|picture| picture.subject).collect();
            if let Some((subjects, started)) = running.replace((subjects, started))
                && !self.finish(subjects, started)?
            {
                return Ok(());
            }
            if pictures.is_empty()
                && let Some((subjects, started)) = running.take()
                && !self.finish(subjects, started)?
            {
                return Ok(());
            }
        }
        match running {
            Some((subjects, started)) => self.finish(subjects, started).map(drop),
            None => Ok(()),
        }
    }

    fn finish(&self, subjects: Vec<Subject>, started: Started) -> Result<Heard> {
        let vectors = started.finish()?;
        if vectors.len() != subjects.len() {
            return Err(Error::StageDied("embedding"));
        }
        for (subject, vector) in subjects.into_iter().zip(vectors) {
            if self.messages.send(conclude(subject, vector)).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn fill(first: Prepared, pictures: &Receiver<Prepared>, batch_size: usize) -> Vec<Prepared> {
    let deadline = Instant::now() + BATCH_PATIENCE;
    let mut batch = vec![first];
    while batch.len() < batch_size {
        match pictures.recv_deadline(deadline) {
            Ok(picture) => batch.push(picture),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    batch
}

/// The store takes numbers only; one odd picture must not spoil the commit of the others.
fn conclude(subject: Subject, vector: Vec<f32>) -> Message {
    if vector.iter().all(|value| value.is_finite()) {
        return Message::New(Box::new(Embedded { subject, vector }));
    }
    Message::NoPicture {
        path: subject.location.path,
        outcome: Outcome::Failed("the model gives no usable embedding for it".into()),
        claimed: Some(subject.id),
    }
}
