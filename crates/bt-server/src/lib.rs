//! The engine behind HTTP: the REST search API, the web page, tools for assistants. How a query is
//! answered is in `bt-query`; how files become records is in `bt-index`.
//!
//! [`Options`] say what to serve; [`serve`] does it until a signal comes.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod album;
mod app;
mod aside;
mod auth;
mod catalogue;
mod decoder;
mod described;
mod engine;
mod error;
mod gallery;
mod guard;
mod mcp;
mod metrics;
mod original;
mod pages;
mod request;
mod response;
mod routes;
mod serve;
mod state;
mod thumbnails;
mod tls;
mod web;

pub mod log;
#[doc(hidden)]
pub mod parsers;

pub use auth::{AuthOptions, Error as AuthError};
pub use guard::Limits;
pub use serve::{Error, assist, serve};
pub use state::{Named, Options};
pub use tls::Files;
