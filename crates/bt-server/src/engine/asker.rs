//! A [`Scorer`] that asks the model's thread: to `bt_query::search` it looks like a model, and what
//! concurrently running searches ask of it becomes batches.

use std::sync::Arc;

use bt_model::{Calibration, PictureStates, Pixels, TextEmbedding, Window, WordHeat};
use bt_query::{Abilities, Error, Look, Result, Scorer};
use bt_store::ContentHash;
use image::RgbImage;

use super::Ticket;
use super::model::Model;

/// The model, asked for one request.
pub(crate) struct Asker {
    model: Arc<Model>,
    ticket: Ticket,
}

impl Asker {
    pub(crate) fn new(model: Arc<Model>, ticket: Ticket) -> Self {
        Self { model, ticket }
    }

    /// Whom it asks.
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// Who asks, and until when.
    pub(crate) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Whether the model that matches reads less than all of a text.
    pub(crate) fn is_too_long(&self, text: &str) -> Result<bool> {
        let (_, is_cut) = self.model.models().matcher().token_ids(text)?;
        Ok(is_cut)
    }
}

impl Scorer for Asker {
    fn abilities(&self) -> Abilities {
        self.model.models().abilities()
    }

    fn calibration(&self) -> &Calibration {
        self.model.models().calibration()
    }

    fn embed_text(&self, text: &str) -> Result<TextEmbedding> {
        let embedded = self.model.texts(&self.ticket, &[text])?;
        embedded.into_iter().next().ok_or(Error::NoDirection)
    }

    fn embed_picture(&self, picture: &RgbImage) -> Result<Vec<f32>> {
        let pixels = self.model.models().embedder().prepare(picture);
        let vectors = self.model.pictures(&self.ticket, vec![pixels])?;
        vectors.into_iter().next().ok_or(Error::NoDirection)
    }

    fn embed_pair(&self, text: &str, picture: &RgbImage) -> Result<Vec<f32>> {
        let pixels = self.model.models().embedder().prepare(picture);
        let text = text.to_owned();
        self.model.call(&self.ticket, move |models| {
            Ok(models.embedder().embed_pair(&text, &pixels)?)
        })
    }

    fn enough_pixels(&self) -> u32 {
        self.model.models().enough_pixels()
    }

    fn prepare(&self, picture: &RgbImage) -> Pixels {
        self.model.models().prepare(picture)
    }

    fn states(&self, id: ContentHash) -> Option<PictureStates> {
        self.model.states(id)
    }

    fn match_logits(&self, texts: &[&str], pictures: &[Look]) -> Result<Vec<Vec<f32>>> {
        self.model.match_logits(&self.ticket, texts, pictures)
    }

    fn word_heat(&self, text: &str, picture: &Pixels) -> Result<Vec<WordHeat>> {
        let (text, pixels) = (text.to_owned(), picture.clone());
        self.model
            .call(&self.ticket, move |models| models.word_heat(&text, &pixels))
    }

    fn window(&self, width: u32, height: u32) -> Window {
        self.model.models().window(width, height)
    }
}
