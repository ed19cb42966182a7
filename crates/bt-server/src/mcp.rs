//! Tools for assistants, by the Model Context Protocol, over stdio and over streamable HTTP. Each tool asks
//! the engine as a route of the API does and answers with the same JSON; beside it stand lines that a model
//! reads, and thumbnails that it sees. Rights and limits over HTTP are `auth`'s and `guard`'s.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bt_query::{Example, Query};
use bt_store::{Collection, ContentHash, Record};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolResult, ContentBlock, Implementation, ServerCapabilities, ServerConfig};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, ServiceExt as _, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::engine::Engine;
use crate::error::ApiError;
use crate::request::{self, FilterBody, SearchRequest};
use crate::response::{PictureBody, SearchResponse};
use crate::routes::IndexBody;
use crate::state::AppState;

mod words;

use words::{answered, line, summary, told, words_of};

/// Results when nobody says how many: each costs an assistant some hundred tokens of its attention.
const USUAL: usize = 5;
/// Most results of one call.
const MOST: usize = 20;
/// Longer edge of thumbnails in lists.
const SMALL: u32 = 320;
/// Longer edge of the one picture that `get_picture` shows.
const LARGE: u32 = 1024;
/// A call is a question, not a file.
const MOST_BYTES: usize = 256 << 10;

const WHERE_IDS_ARE: &str = "take `id` from the results of search_pictures";
const INSTRUCTIONS: &str = "Finds pictures in the user's albums by what they show. Start with \
    search_pictures and a short description in English of what should be seen; each result carries the \
    probability that it shows that, and no results mean that nothing does. Ids stay the same as long as \
    the file does; paths are on the machine of the server.";

/// The tools.
#[derive(Clone)]
struct Tools {
    state: AppState,
}

/// Arguments of `search_pictures`.
#[derive(Debug, Deserialize, JsonSchema)]
struct SearchPictures {
    /// What should be seen, in plain English, as a caption would say it: "a cat on a couch". A file
    /// name finds that file.
    text: String,
    /// What should not be seen, each in a few words: ["people", "snow"].
    #[serde(default)]
    not: Vec<String>,
    /// How many results at most; 5 when left out, at most 20.
    n: Option<usize>,
    /// Only pictures in one of these folders, as absolute paths.
    #[serde(default)]
    folders: Vec<String>,
    /// Only pictures taken then or later: "2023", "2023-06" or "2023-06-24".
    after: Option<String>,
    /// Only pictures taken before then: "2023", "2023-06" or "2023-06-24" is the first that is too late.
    before: Option<String>,
    /// Only pictures of a camera whose name has these words.
    camera: Option<String>,
    /// Leave out what shows it less probably than this, from 0 to 1; the model's own threshold when
    /// left out. 0 shows the nearest, however unlikely.
    min_score: Option<f32>,
    /// Whether thumbnails come along; true when left out.
    thumbnails: Option<bool>,
    /// Which index, as index_status names them; the first one when left out.
    index: Option<String>,
}

impl SearchPictures {
    /// As the engine takes it.
    fn query(&self) -> Result<Query, ApiError> {
        if self.text.trim().is_empty() {
            return Err(ApiError::bad_request("`text` says nothing")
                .hint("search_pictures takes a description of what should be seen"));
        }
        let request = SearchRequest {
            text: Some(self.text.clone()),
            not: self.not.clone(),
            filter: FilterBody {
                folders: self.folders.clone(),
                after: self.after.clone(),
                before: self.before.clone(),
                camera: self.camera.clone(),
                ..FilterBody::default()
            },
            n: Some(self.n.unwrap_or(USUAL).clamp(1, MOST)),
            min_score: self.min_score,
            ..SearchRequest::default()
        };
        request.query()
    }
}

/// Arguments of `get_picture`.
#[derive(Debug, Deserialize, JsonSchema)]
struct GetPicture {
    /// Id of a picture: 64 hexadecimal digits, from the results of a search.
    id: String,
    /// Which index, as index_status names them; the first one when left out.
    index: Option<String>,
}

/// Arguments of `similar_pictures`.
#[derive(Debug, Deserialize, JsonSchema)]
struct SimilarPictures {
    /// Id of a picture: 64 hexadecimal digits, from the results of a search.
    id: String,
    /// How many results at most; 5 when left out, at most 20.
    n: Option<usize>,
    /// Whether thumbnails come along; true when left out.
    thumbnails: Option<bool>,
    /// Which index, as index_status names them; the first one when left out.
    index: Option<String>,
}

/// Reads arguments as those of each tool; for [`crate::parsers`].
pub(crate) fn read(bytes: &[u8]) {
    let _ = serde_json::from_slice::<GetPicture>(bytes);
    let _ = serde_json::from_slice::<SimilarPictures>(bytes);
    if let Ok(asked) = serde_json::from_slice::<SearchPictures>(bytes) {
        let _ = asked.query();
    }
}

#[tool_router]
impl Tools {
    #[tool(
        description = "Finds pictures that show what a text describes. Returns for each its id, path, \
            size, date and the probability that it shows the text, best first, with a thumbnail. An \
            empty list means that nothing in the album shows it.",
        annotations(
            title = "Search pictures",
            read_only_hint = true,
            open_world_hint = false
        )
    )]
    async fn search_pictures(
        &self,
        Parameters(wish): Parameters<SearchPictures>,
    ) -> CallToolResult {
        told(self.search(wish).await)
    }

    #[tool(
        description = "Tells everything that is known of one picture (paths, size, date, camera, place, \
            captions, keywords) and shows it, at most 1024 pixels wide or high.",
        annotations(
            title = "Get a picture",
            read_only_hint = true,
            open_world_hint = false
        )
    )]
    async fn get_picture(&self, Parameters(wish): Parameters<GetPicture>) -> CallToolResult {
        told(self.get(wish).await)
    }

    #[tool(
        description = "Finds pictures that look like one of the album, given by its id: the same scene, \
            the same things, other takes. The picture itself is not among them.",
        annotations(
            title = "Similar pictures",
            read_only_hint = true,
            open_world_hint = false
        )
    )]
    async fn similar_pictures(
        &self,
        Parameters(wish): Parameters<SimilarPictures>,
    ) -> CallToolResult {
        told(self.similar(wish).await)
    }

    #[tool(
        description = "Tells which indexes there are, how many pictures each holds, and which model it \
            was made with. Useful when nothing is found: the pictures may not be indexed.",
        annotations(
            title = "State of the index",
            read_only_hint = true,
            open_world_hint = false
        )
    )]
    async fn index_status(&self) -> CallToolResult {
        told(self.status())
    }
}

#[tool_handler]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let us = Implementation::new("bt-server", env!("CARGO_PKG_VERSION"))
            .with_title("Picture search");
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(us)
            .with_instructions(INSTRUCTIONS)
    }
}

impl Tools {
    async fn search(&self, wish: SearchPictures) -> Result<CallToolResult, ApiError> {
        self.found(wish.index.as_deref(), wish.query()?, wish.thumbnails)
            .await
    }

    async fn similar(&self, wish: SimilarPictures) -> Result<CallToolResult, ApiError> {
        let query = Query {
            picture: Some(Example::Indexed(id(&wish.id)?)),
            n: wish.n.unwrap_or(USUAL).clamp(1, MOST),
            ..Query::default()
        };
        self.found(wish.index.as_deref(), query, wish.thumbnails)
            .await
    }

    /// Answers a query.
    async fn found(
        &self,
        index: Option<&str>,
        query: Query,
        thumbnails: Option<bool>,
    ) -> Result<CallToolResult, ApiError> {
        let engine = self.state.engine(index)?;
        let searched = engine
            .search(query.clone(), engine.deadline(), None)
            .await?;
        let page = SearchResponse::of(&searched, &query, false, engine.name());
        let document = serde_json::to_value(page).map_err(ApiError::internal)?;

        let mut blocks = vec![ContentBlock::text(summary(&document))];
        let rows = document["results"].as_array().into_iter().flatten();
        for (found, row) in searched.answer.results.iter().zip(rows) {
            blocks.push(ContentBlock::text(line(row)));
            if thumbnails.unwrap_or(true) {
                blocks.push(self.shown(found.record.clone(), SMALL).await);
            }
        }
        Ok(answered(blocks, document))
    }

    async fn get(&self, wish: GetPicture) -> Result<CallToolResult, ApiError> {
        let engine = self.state.engine(wish.index.as_deref())?;
        let record = record(engine, id(&wish.id)?).await?;
        let document = serde_json::to_value(PictureBody::of(&record, engine.name()))
            .map_err(ApiError::internal)?;
        let text = ContentBlock::text(document.to_string());
        let picture = self.shown(record, LARGE).await;
        Ok(answered(vec![text, picture], document))
    }

    fn status(&self) -> Result<CallToolResult, ApiError> {
        let indexes: Vec<IndexBody> = self
            .state
            .engines
            .values()
            .map(|engine| IndexBody::of(engine))
            .collect();
        let document = json!({ "default": self.state.first, "indexes": indexes });
        let text = ContentBlock::text(document.to_string());
        Ok(answered(vec![text], document))
    }

    /// A thumbnail; or why there is none, since the record is an answer without it.
    async fn shown(&self, record: Record, edge: u32) -> ContentBlock {
        let gallery = &self.state.gallery;
        let (originals, thumbnails) = (
            Arc::clone(&gallery.originals),
            Arc::clone(&gallery.thumbnails),
        );
        let made: Result<Bytes, ApiError> = gallery
            .work
            .run(move || thumbnails.get(&originals, &record, edge))
            .await;
        match made {
            Ok(jpeg) => ContentBlock::image(STANDARD.encode(&jpeg), "image/jpeg"),
            Err(error) => ContentBlock::text(format!("(not shown: {})", words_of(&error))),
        }
    }
}

fn id(text: &str) -> Result<ContentHash, ApiError> {
    request::id(text.trim()).map_err(|error| error.hint(WHERE_IDS_ARE))
}

async fn record(engine: &Engine, id: ContentHash) -> Result<Record, ApiError> {
    let found = engine
        .run(move |snapshot, _| Ok(snapshot.reader.fetch(&[id])?.pop().flatten()))
        .await?;
    found.ok_or_else(|| {
        ApiError::not_found(format!("no picture has the id {id}")).hint(WHERE_IDS_ARE)
    })
}

/// `POST /mcp`: streamable HTTP. Every call stands for itself, so nothing is kept between two.
pub(crate) fn service(state: AppState) -> Router<AppState> {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(MOST_BYTES)
        // `guard` knows by which names this server is reached.
        .disable_allowed_hosts();
    let service = StreamableHttpService::new(
        move || {
            Ok(Tools {
                state: state.clone(),
            })
        },
        Arc::new(NeverSessionManager::default()),
        config,
    );
    Router::new().route_service("/mcp", service)
}

/// Answers on standard input and output until the assistant closes them.
///
/// # Errors
/// The first message is none of the protocol, or standard input broke.
pub(crate) async fn stdio(state: AppState) -> std::io::Result<()> {
    let running = Tools { state }
        .serve(rmcp::transport::stdio())
        .await
        .map_err(std::io::Error::other)?;
    running.waiting().await.map_err(std::io::Error::other)?;
    Ok(())
}
