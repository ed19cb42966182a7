//! One engine an index: a snapshot that is replaced when a newer state is there, the model that its vectors
//! were made with (shared with other indexes of that model), and bounded work on both. How a query is
//! answered is in `bt-query`; nothing here knows of HTTP but the errors.

mod admission;
mod asker;
mod model;
mod results;
mod snapshot;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::http::StatusCode;
use bt_query::{Answer, Error, Progress, Query, Scorer};
use bt_store::{Collection, Header};
use tokio::sync::mpsc;

pub(crate) use admission::Admission;
pub(crate) use asker::Asker;
pub(crate) use model::{FAILED, Model, Models};
pub(crate) use snapshot::Snapshot;

use crate::aside;
use crate::error::ApiError;
use results::Results;
use snapshot::Current;

/// An index that is served.
pub(crate) struct Engine {
    name: String,
    path: PathBuf,
    header: Header,
    current: Arc<Current>,
    model: Arc<Model>,
    admission: Arc<Admission>,
    results: Results,
}

/// What is told while a query runs.
#[derive(Debug)]
pub(crate) enum Step {
    /// First results, by embedding alone.
    Candidates(Searched),
    /// How far the reranking is.
    Progress(Progress),
    /// The answer.
    End(Result<Searched, ApiError>),
}

/// An answer, and the state of the index that it is of.
#[derive(Clone, Debug)]
pub(crate) struct Searched {
    /// The answer.
    pub(crate) answer: Arc<Answer>,
    /// Newest published generation then.
    pub(crate) generation: Option<u64>,
}

/// Until when somebody waits for an answer; shared by all that is done for one request.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    /// The time that was given.
    pub(crate) deadline: Instant,
    left: Arc<AtomicBool>,
}

impl Ticket {
    pub(crate) fn until(deadline: Instant) -> (Self, Leaves) {
        let left = Arc::new(AtomicBool::new(false));
        let ticket = Self {
            deadline,
            left: Arc::clone(&left),
        };
        (ticket, Leaves(left))
    }

    /// Why nobody waits any more, if so.
    fn over(&self) -> Option<&'static str> {
        if self.left.load(Ordering::Relaxed) {
            Some("the client has left")
        } else if Instant::now() >= self.deadline {
            Some("the time is up")
        } else {
            None
        }
    }

    /// Whether somebody still waits.
    ///
    /// # Errors
    /// The client has left, or the time is up.
    pub(crate) fn check(&self) -> bt_query::Result<()> {
        self.over().map_or(Ok(()), |why| Err(Error::Stopped(why)))
    }
}

/// Held by the future of a request: a client that leaves drops it.
pub(crate) struct Leaves(Arc<AtomicBool>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Engine {
    /// Opens an index.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn open(
        name: String,
        path: &Path,
        model: Arc<Model>,
        admission: Arc<Admission>,
        results_bytes: u64,
    ) -> bt_store::Result<Self> {
        let current = Current::open(&name, path)?;
        Ok(Self {
            header: current.get().reader.facts().header.clone(),
            name,
            path: path.to_owned(),
            current: Arc::new(current),
            model,
            admission,
            results: Results::new(results_bytes),
        })
    }

    /// What the operator calls the index.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    pub(crate) fn index_path(&self) -> &Path {
        &self.path
    }

    /// What it was made with.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The model behind it.
    pub(crate) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Its newest state that is known here; stays what it is as long as it is held.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.get()
    }

    /// Looks for a newer state soon; returns at once.
    pub(crate) fn refresh(&self) {
        self.current.wake();
    }

    /// Follows the index until the future is dropped.
    pub(crate) async fn follow(&self) {
        Arc::clone(&self.current).follow().await;
    }

    /// Answers a query. What was answered before from the same state is answered at once.
    ///
    /// # Errors
    /// 429 when too much is asked at once, 504 when the deadline is over, and those of the query.
    pub(crate) async fn search(
        &self,
        query: Query,
        deadline: Instant,
        on: Option<mpsc::Sender<Step>>,
    ) -> Result<Searched, ApiError> {
        let asked = Instant::now();
        let outcome = self.find(query, deadline, on).await;
        let status = outcome
            .as_ref()
            .map_or_else(ApiError::status, |_| StatusCode::OK);
        metrics::histogram!("bt_search_seconds", "status" => status.as_str().to_owned())
            .record(asked.elapsed());
        outcome
    }

    async fn find(
        &self,
        query: Query,
        deadline: Instant,
        on: Option<mpsc::Sender<Step>>,
    ) -> Result<Searched, ApiError> {
        let snapshot = self.snapshot();
        let key = Results::key(&snapshot, &query);
        if let Some(searched) = key.as_ref().and_then(|key| self.results.get(key)) {
            return Ok(searched);
        }
        let searched = self
            .run_until(deadline, move |snapshot, asker| {
                if let (Some(on), true) = (&on, query.rerank > 0) {
                    let first = Query {
                        rerank: 0,
                        ..query.clone()
                    };
                    let first = ask(&first, snapshot, asker, &mut |_| {})?;
                    // The client has left: the next call of the scorer ends the work.
                    let _ = on.try_send(Step::Candidates(first));
                }
                ask(&query, snapshot, asker, &mut |progress| {
                    if let Some(on) = &on {
                        // Who does not keep up misses a step, not the result.
                        let _ = on.try_send(Step::Progress(progress));
                    }
                })
            })
            .await?;
        if let Some(key) = key {
            self.results.keep(key, &searched);
        }
        Ok(searched)
    }

    /// Any blocking work with the index and the model, within the server's usual time.
    ///
    /// # Errors
    /// 429 when too much is asked at once, 504 when the time is over, and those of the work.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Snapshot, &Asker) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.run_until(self.admission.deadline(), work).await
    }

    /// The same with a deadline of its own.
    pub(crate) async fn run_until<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&Snapshot, &Asker) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let entered = self.admission.enter(deadline).await?;
        let (ticket, leaves) = Ticket::until(deadline);
        let (snapshot, model) = (self.snapshot(), Arc::clone(&self.model));
        let done = aside::on_a_thread(move || {
            let _entered = entered;
            work(&snapshot, &Asker::new(model, ticket))
        })
        .await;
        drop(leaves);
        done.unwrap_or_else(|panic| Err(ApiError::internal(panic)))
    }

    /// Work with the model alone: what is asked of it joins the batches of others.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub(crate) async fn ask_model<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Model, &Ticket) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.run(move |_, asker| work(asker.model(), asker.ticket()))
            .await
    }

    /// Until when a request that says nothing may take.
    pub(crate) fn deadline(&self) -> Instant {
        self.admission.deadline()
    }
}

fn ask(
    query: &Query,
    snapshot: &Snapshot,
    scorer: &dyn Scorer,
    on: &mut dyn FnMut(Progress),
) -> Result<Searched, ApiError> {
    let answer = bt_query::search(query, &snapshot.reader, scorer, on)?;
    for stage in &answer.stages {
        metrics::histogram!("bt_stage_seconds", "stage" => stage.name).record(stage.took);
    }
    Ok(Searched {
        answer: Arc::new(answer),
        generation: snapshot.reader.facts().generation.map(|id| id.0),
    })
}
