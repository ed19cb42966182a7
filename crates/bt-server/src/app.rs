//! All routes and what lies around them, as one router; their description is made from the code.

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use utoipa::OpenApi as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;

use crate::error::Problem;
use crate::state::AppState;
use crate::{auth, described, guard, mcp, metrics, routes, web};

/// What the description says beside the routes.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "bt-server",
        description = "Finds pictures by what they show: words, a picture, or both.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem)),
    tags(
        (name = "search", description = "Finding pictures"),
        (name = "pictures", description = "Records, files and uploads"),
        (name = "inference", description = "The model itself, for other programs"),
        (name = "operations", description = "State of the server"),
    )
)]
struct Description;

/// The whole server.
pub(crate) fn router(state: &AppState) -> Router {
    let (router, _) = parts(state);
    guard::layer(router.with_state(state.clone()), state)
}

/// The description of all routes, with the names of the indexes that are served.
pub(crate) fn description(state: &AppState) -> serde_json::Value {
    let mut description = serde_json::json!(parts(state).1);
    let engines = state.engines.values();
    let served: Vec<(&str, usize)> = engines
        .map(|engine| (engine.name(), engine.header().dim))
        .collect();
    described::say_what_spans_fields(&mut description, &served);
    description
}

fn parts(state: &AppState) -> (Router<AppState>, OpenApi) {
    let guarded = routes::guarded().merge(mcp::service(state.clone()).into());
    let guarded = guard::with_room_for_bodies(guarded, &state.options.limits)
        .layer(from_fn_with_state(state.clone(), auth::require));
    let (router, mut description) = OpenApiRouter::with_openapi(Description::openapi())
        .merge(guarded)
        .merge(guard::with_patience(routes::open(), &state.options.limits))
        .merge(web::routes().into())
        .split_for_parts();
    say_what_all_share(&mut description);
    (router.layer(from_fn(metrics::count)), description)
}

/// Every route may answer with a problem; those under /v1 may ask for a token.
fn say_what_all_share(description: &mut OpenApi) {
    let problem = ResponseBuilder::new()
        .description("What went wrong, and what to do")
        .content(
            "application/problem+json",
            Content::new(Some(Ref::from_schema_name("Problem"))),
        )
        .build();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    if let Some(components) = &mut description.components {
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
    for (path, item) in &mut description.paths.paths {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            responses
                .entry("default".to_owned())
                .or_insert_with(|| RefOr::T(problem.clone()));
            if path.starts_with("/v1/") || path == "/metrics" {
                operation.security = Some(vec![
                    SecurityRequirement::new("token", Vec::<String>::new()),
                    SecurityRequirement::default(),
                ]);
            }
        }
    }
}
