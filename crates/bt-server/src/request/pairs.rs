//! Query strings as values: names may repeat where a field is a list, and numbers and flags are read from
//! their texts.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};

/// Reads a query string.
pub(super) fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let uri: axum::http::Uri = format!("/?{text}")
        .parse()
        .map_err(|_| de::Error::custom("the query string is none"))?;
    let axum::extract::Query(pairs) =
        axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri)
            .map_err(de::Error::custom)?;
    let mut fields: BTreeMap<String, Texts> = BTreeMap::new();
    for (name, value) in pairs {
        let texts = fields.entry(name.clone()).or_insert_with(|| Texts {
            name,
            texts: Vec::new(),
        });
        texts.texts.push(value);
    }
    T::deserialize(MapDeserializer::new(fields.into_iter()))
}

/// A list: each value of the name.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("texts")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
            let mut all = Vec::new();
            while let Some(text) = seq.next_element()? {
                all.push(text);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_seq(List)
}

/// All values of a name.
struct Texts {
    name: String,
    texts: Vec<String>,
}

impl Texts {
    /// The only value.
    fn one(mut self) -> Result<(String, String), Error> {
        match (self.texts.pop(), self.texts.is_empty()) {
            (Some(text), true) => Ok((self.name, text)),
            _ => Err(de::Error::custom(format!("`{}` is given twice", self.name))),
        }
    }

    fn parsed<T: std::str::FromStr>(self, expected: &str) -> Result<T, Error> {
        let (name, text) = self.one()?;
        text.parse()
            .map_err(|_| de::Error::custom(format!("`{name}` is `{text}`; expected {expected}")))
    }
}

impl IntoDeserializer<'_, Error> for Texts {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $expected:literal,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.parsed($expected)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Texts {
    type Error = Error;

    parsed! {
        deserialize_bool visit_bool "true or false",
        deserialize_u8 visit_u8 "a whole number",
        deserialize_u16 visit_u16 "a whole number",
        deserialize_u32 visit_u32 "a whole number",
        deserialize_u64 visit_u64 "a whole number",
        deserialize_i8 visit_i8 "a whole number",
        deserialize_i16 visit_i16 "a whole number",
        deserialize_i32 visit_i32 "a whole number",
        deserialize_i64 visit_i64 "a whole number",
        deserialize_f32 visit_f32 "a number",
        deserialize_f64 visit_f64 "a number",
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.one()?.1)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(SeqDeserializer::new(self.texts.into_iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (field, text) = self.one()?;
        if !variants.contains(&text.as_str()) {
            return Err(de::Error::custom(format!(
                "`{field}` is `{text}`; expected one of {}",
                variants.join(", ")
            )));
        }
        IntoDeserializer::<Error>::into_deserializer(text).deserialize_enum(name, variants, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier
    }
}
