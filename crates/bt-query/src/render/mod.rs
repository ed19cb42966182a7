//! An answer as something to look at or to read on: one file a form.

pub mod html;
pub mod json;
pub mod paths;
pub mod text;
