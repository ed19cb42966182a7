//! Shapes in the description that no attribute says: what a text must look like, how long a list may be. Each
//! says what the checks of a request ask for, so that what is made from the description is not refused.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Array, Object, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::request::{LONGEST_TEXT, MOST_INPUTS, MOST_NOT};

/// Year, month or day: of a day, months of 31, 30 and 28 days, and the 29 of February's leap years.
const PERIOD: &str = "^([0-9]{4}(-(0[1-9]|1[0-2]))?\
    |[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))\
    |([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)$";
/// Megapixels, width and height, or bytes.
const SIZE: &str =
    "^([0-9]{1,9}x[0-9]{1,9}|[0-9]{1,6}([.][0-9]{1,6})?([Mm][Pp]|[KkMmGg]([Ii]?[Bb])?|[Bb]))$";
/// Latitude, longitude, kilometres.
const PLACE: &str = "^-?(90([.]0{1,9})?|[1-8]?[0-9]([.][0-9]{1,9})?),\
    -?(180([.]0{1,9})?|(1[0-7][0-9]|[1-9]?[0-9])([.][0-9]{1,9})?),\
    ([1-9][0-9]{0,5}([.][0-9]{1,9})?|0[.][0-9]{0,8}[1-9])$";
/// A picture's id.
const ID: &str = "^[0-9a-fA-F]{64}$";
/// Where a page of a search begins, up to the 10,000th result.
const CURSOR: &str = "^1[.](0|[1-9][0-9]{0,3}|10000)$";
/// Base64 with its padding, white space around it, with or without the head of a `data:` URL.
const BASE64: &str = "^(data:[^,]*,)?[ \\t\\r\\n]*([A-Za-z0-9+/]{4})*\
    ([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?[ \\t\\r\\n]*$";
/// Anything but white space alone. Said in full, since `\S` and a length together are taken for a text of
/// nothing else.
const NOT_BLANK: &str = "^[\\s\\S]*\\S[\\s\\S]*$";

/// Id of a picture: 64 hexadecimal digits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct PictureId(pub(crate) String);

impl PartialSchema for PictureId {
    fn schema() -> RefOr<Schema> {
        text(ID)
            .description(Some("64 hexadecimal digits"))
            .build()
            .into()
    }
}

impl ToSchema for PictureId {}

fn text(pattern: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
}

/// Year, month or day.
pub(crate) fn period() -> Object {
    text(PERIOD).build()
}

/// Megapixels, width and height, or bytes.
pub(crate) fn size() -> Object {
    text(SIZE).build()
}

/// Latitude, longitude, kilometres.
pub(crate) fn place() -> Object {
    text(PLACE).build()
}

/// The same in a body, where null says nothing.
pub(crate) fn period_or_null() -> Object {
    text(PERIOD).schema_type(text_or_null()).build()
}

/// The same in a body, where null says nothing.
pub(crate) fn size_or_null() -> Object {
    text(SIZE).schema_type(text_or_null()).build()
}

/// Where a page of a search begins.
pub(crate) fn cursor() -> Object {
    text(CURSOR).build()
}

/// The same in a body, where null says nothing.
pub(crate) fn cursor_or_null() -> Object {
    text(CURSOR).schema_type(text_or_null()).build()
}

/// Bytes of a picture file.
pub(crate) fn picture_bytes() -> Object {
    text(BASE64)
        .content_encoding("base64")
        .description(Some("Bytes of a picture file, in base64"))
        .build()
}

fn text_or_null() -> SchemaType {
    SchemaType::from_iter([Type::String, Type::Null])
}

/// What should not be seen.
pub(crate) fn not() -> Array {
    let one = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(LONGEST_TEXT));
    ArrayBuilder::new()
        .items(one)
        .max_items(Some(MOST_NOT))
        .build()
}

/// The same in a query string, where nothing is said of lengths: a URI that is too long is answered before anything
/// reads it.
pub(crate) fn not_in_query() -> Array {
    let one = ObjectBuilder::new().schema_type(Type::String);
    ArrayBuilder::new()
        .items(one)
        .max_items(Some(MOST_NOT))
        .build()
}

/// Absolute paths.
pub(crate) fn folders() -> Array {
    let absolute = if cfg!(windows) {
        "^([A-Za-z]:)?[/\\\\]"
    } else {
        "^/"
    };
    ArrayBuilder::new().items(text(absolute)).build()
}

/// Names and usual endings of file types.
pub(crate) fn types() -> Array {
    let names = bt_picture::Format::ALL.iter().map(|format| format.name());
    let known = names.chain(bt_query::parse::other_names());
    let one = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(known));
    ArrayBuilder::new().items(one).build()
}

/// Writes into the finished description what depends on several fields, on one of several forms, or on what is
/// served: a search asks for something, a list has an end, an index is one of these (by name, with the length of its
/// vectors), and what other servers let one choose has one value.
pub(crate) fn say_what_spans_fields(description: &mut Value, served: &[(&str, usize)]) {
    let indexes: Vec<&str> = served.iter().map(|(name, _)| *name).collect();
    let schemas = &mut description["components"]["schemas"];
    schemas["SearchRequest"]["anyOf"] = json!([
        { "required": ["text"], "properties": { "text": { "type": "string", "pattern": NOT_BLANK } } },
        { "required": ["image"], "properties": { "image": { "type": "object" } } },
    ]);
    schemas["RerankRequest"]["oneOf"] = json!([
        {
            "required": ["query", "images"],
            "properties": {
                "query": { "type": "string" }, "images": { "type": "array" },
                "query_image": { "type": "null" }, "texts": { "type": "null" },
                "return_text": { "enum": [false, null] },
            },
        },
        {
            "required": ["query_image", "texts"],
            "properties": {
                "query_image": { "type": "object" }, "texts": { "type": "array" },
                "query": { "type": "null" }, "images": { "type": "null" },
            },
        },
    ]);
    // One or the other, and no part that nobody reads.
    for form in schemas["ImageBody"]["oneOf"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        form["additionalProperties"] = json!(false);
        if let Some(bytes) = form["properties"].get_mut("base64") {
            *bytes = json!(picture_bytes());
        }
    }
    for form in ["UploadForm", "SearchForm"] {
        schemas[form]["additionalProperties"] = json!(false);
    }
    schemas["SearchForm"]["anyOf"] =
        json!([{ "required": ["request"] }, { "required": ["image"] }]);
    let lengths: Vec<Value> = served.iter().map(|(_, dim)| json!(dim)).collect();
    let lengths = [lengths, vec![Value::Null]].concat();
    for (body, field, values) in [
        ("EmbedRequest", "dimensions", json!(lengths)),
        ("EmbedRequest", "normalize", json!([true, null])),
        ("EmbedRequest", "prompt_name", json!([null])),
        (
            "EmbedRequest",
            "truncation_direction",
            json!(["Right", null]),
        ),
        ("EmbeddingsRequest", "dimensions", json!(lengths)),
        (
            "RerankRequest",
            "truncation_direction",
            json!(["Right", null]),
        ),
    ] {
        let one_of = &mut schemas[body]["properties"][field];
        *one_of = json!({ "description": one_of["description"], "enum": values });
    }
    for one_or_several in ["Inputs", "Texts"] {
        let forms = schemas[one_or_several]["oneOf"].as_array_mut();
        for list in forms
            .into_iter()
            .flatten()
            .filter(|form| form["type"] == "array")
        {
            list["minItems"] = json!(1);
            list["maxItems"] = json!(MOST_INPUTS);
        }
    }
    for body in ["SearchRequest", "ExportRequest"] {
        let index = &mut schemas[body]["properties"]["index"];
        index["enum"] = indexes
            .iter()
            .map(|name| json!(name))
            .chain([Value::Null])
            .collect();
    }
    let paths = description["paths"].as_object_mut().into_iter().flatten();
    let operations = paths.flat_map(|(_, path)| path.as_object_mut().into_iter().flatten());
    for (_, operation) in operations {
        // Not by index, which would write a null where there are none.
        let parameters = operation
            .get_mut("parameters")
            .and_then(Value::as_array_mut);
        let parameters = parameters.into_iter().flatten();
        for parameter in parameters.filter(|parameter| parameter["name"] == "index") {
            parameter["schema"]["enum"] = json!(indexes);
        }
    }
}
