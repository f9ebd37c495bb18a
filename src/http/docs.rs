//! `/docs`: one self-contained page that reads `/openapi.json` and lets a person try every call. Loads nothing from anywhere else.
//!
//! A browser cannot send a token when it opens a page, so a locked page is answered with 401 and the same static shell, which holds nothing but a
//! field for the token; the document itself is fetched with that token.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::error::BodyIsFinal;

/// The page's path.
pub(crate) const PATH: &str = "/docs";

const MARKUP: &str = include_str!("docs.html");
const SCRIPT: &str = include_str!("docs.js");
const PLACE: &str = "/*SCRIPT*/";

/// The page.
pub(crate) async fn page() -> Response {
    shell()
}

/// True when a person's browser asks for the page.
pub(crate) fn is_wanted(route: Option<&str>, headers: &HeaderMap) -> bool {
    let accepts_html =
        || headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    route == Some(PATH) && accepts_html()
}

/// The page for someone without a token.
pub(crate) fn locked_page() -> Response {
    let mut response = shell();
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tallow\""));
    response.extensions_mut().insert(BodyIsFinal);
    response
}

fn shell() -> Response {
    let mut response = Html(MARKUP.replace(PLACE, SCRIPT)).into_response();
    let hash = STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{hash}'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
