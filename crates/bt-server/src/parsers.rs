//! Every parser that a stranger's bytes reach, as plain functions: the fuzz targets in fuzz/ call them, and
//! so does a test that needs no fuzzer. None may panic, whatever the bytes; what must hold of an outcome is
//! asserted.

use std::sync::OnceLock;

use axum::body::Body;
use axum::extract::{FromRequest, Multipart};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use axum_extra::extract::cookie::CookieJar;
use bt_model::{Encoder, Exec, Fit, ModelChoice};
use bt_picture::Limits;
use futures_util::FutureExt;

use crate::auth::{AuthOptions, Hosts, Keys, Right, Sessions, is_from_elsewhere};
use crate::guard::forwarded_for;
use crate::mcp;
use crate::pages::PageCursor;
use crate::request::{FilterParams, ImageBody, SearchParams, SearchRequest, Shown, query_string};
use crate::routes::{
    AskedExport, Part, asked, has_it, part, read_form, read_inference, read_query,
    read_search_form, read_sign_in,
};

/// A picture file, as an upload or a query brings it.
pub fn picture(bytes: &[u8]) {
    // Small enough that a fuzzer does not run out of memory.
    let limits = Limits {
        max_pixels: 1 << 20,
        max_bytes: 64 << 20,
    };
    for enough in [None, Some(1)] {
        if let Ok(picture) = bt_picture::decode(bytes, &limits, enough) {
            assert!(u64::from(picture.width) * u64::from(picture.height) <= limits.max_pixels);
            let small = bt_picture::thumbnail(&picture.rgb, 64);
            assert!(small.width().max(small.height()) <= 64);
        }
    }
    bt_picture::metadata(bytes);
}

/// The body of a search: JSON, and what its fields say.
pub fn search_request(bytes: &[u8]) {
    let Ok(request) = serde_json::from_slice::<SearchRequest>(bytes) else {
        return;
    };
    if let Ok(query) = request.query() {
        assert!((1..=200).contains(&query.n) && query.rerank <= 200);
    }
    if let Some(Ok(Shown::Bytes(bytes))) = request.image.as_ref().map(ImageBody::shown) {
        picture(&bytes);
    }
}

/// Query strings: of a search, with its filters and its cursor, and of every other route that has one.
pub fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    read_query(text);
    let filter = query_string::<FilterParams>(text).and_then(|filter| filter.body());
    let (Ok(filter), Ok(params)) = (filter, query_string::<SearchParams>(text)) else {
        return;
    };
    // Whatever is refused is refused by an error.
    let _ = params.request(filter, None).query();
}

/// Bodies of everything but searching: the model itself, archives, signing in, and what assistants say to their tools.
pub fn bodies(bytes: &[u8]) {
    read_inference(bytes);
    read_sign_in(bytes);
    mcp::read(bytes);
    for kind in ["application/json", "application/x-www-form-urlencoded"] {
        let mut request = Request::new(Body::from(bytes.to_vec()));
        *request.method_mut() = Method::POST;
        let kind = HeaderValue::from_static(kind);
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        // All bytes are there: nothing is waited for.
        let asked = AskedExport::from_request(request, &()).now_or_never();
        assert!(asked.is_some());
    }
}

/// The forms of an upload and of a search. The first byte says how long the boundary is, which follows.
pub fn form(bytes: &[u8]) {
    const MOST: u64 = 1 << 20;
    let Some((length, rest)) = bytes.split_first() else {
        return;
    };
    let (boundary, body) = rest.split_at(rest.len().min(usize::from(*length)));
    let kind = [b"multipart/form-data; boundary=", boundary].concat();
    let Ok(kind) = HeaderValue::from_bytes(&kind) else {
        return;
    };
    let request = || {
        let mut request = Request::new(Body::from(body.to_vec()));
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, kind.clone());
        request
    };
    // All bytes are there: nothing is waited for.
    assert!(read_search_form(request(), &()).now_or_never().is_some());
    let form = Multipart::from_request(request(), &()).now_or_never();
    if let Some(Ok(form)) = form
        && let Some(Ok((image, _))) = read_form(form, MOST).now_or_never()
    {
        assert!(image.len() as u64 <= MOST);
    }
}

/// `Range`, of files of several lengths, and `If-Range`.
pub fn range(bytes: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-0"));
        headers.insert(header::IF_RANGE, value);
        let is_ours = bytes.trim_ascii() == b"\"a\"";
        assert_eq!(asked(&headers, "\"a\"", 2) != Part::Whole, is_ours);
    }
    let text = String::from_utf8_lossy(bytes);
    for len in [0, 1, 1000, u64::MAX] {
        if let Part::Bytes { first, last } = part(&text, len) {
            assert!(first <= last && last < len, "{first}-{last}/{len}");
        }
    }
}

/// The cursor of browsing.
pub fn cursor(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(cursor) = PageCursor::parse(&text) {
        assert_eq!(PageCursor::parse(&cursor.to_text()), Some(cursor));
    }
}

/// Headers that rights, rates and answers depend on: token, cookie, origin, host, tags, who is behind a proxy.
pub fn headers(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let sessions = Sessions::default();
    let mut headers = HeaderMap::new();
    for name in [
        header::COOKIE,
        header::ORIGIN,
        header::HOST,
        header::IF_NONE_MATCH,
        header::AUTHORIZATION,
        HeaderName::from_static("x-forwarded-for"),
    ] {
        headers.insert(name, value.clone());
    }
    const TOKEN: &str = "0123456789abcdef";
    let options = AuthOptions {
        token: Some(TOKEN.to_owned()),
        ..AuthOptions::default()
    };
    if let Ok(keys) = Keys::open(&options, ([127, 0, 0, 1], 0).into(), false) {
        let mut words = bytes.windows(TOKEN.len());
        assert!(keys.caller(&headers).is_err() || words.any(|word| word == TOKEN.as_bytes()));
    }
    forwarded_for(&headers);
    // Nobody has signed in, so no cookie opens anything.
    for cookie in CookieJar::from_headers(&headers).iter() {
        assert_eq!(sessions.right_of(cookie.value()), None::<Right>);
    }
    let uri = Uri::from_static("/v1/pictures");
    is_from_elsewhere(&Method::POST, &uri, &headers);
    Hosts::new(&[]).admit(&uri, &headers);
    has_it(&headers, "\"a\"");
}

/// What people look for, as the model's tokenizer reads it.
pub fn words(bytes: &[u8]) {
    static MINI: OnceLock<Option<Encoder>> = OnceLock::new();
    let mini = MINI.get_or_init(|| {
        let choice = ModelChoice {
            spec: "mini".to_owned(),
            fit: Fit::default(),
        };
        let exec = Exec::parse("cpu").ok()?;
        Encoder::load(&choice, &exec, &mut |_| {}).ok()
    });
    assert!(mini.is_some(), "the model that comes along does not load");
    let text = String::from_utf8_lossy(bytes);
    if let Some(Ok((ids, _))) = mini.as_ref().map(|mini| mini.token_ids(&text)) {
        assert!(!ids.is_empty());
    }
}
