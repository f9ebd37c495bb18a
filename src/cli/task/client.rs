//! HTTP to a running worker: one agent, the token found by itself, refusals turned into exit codes.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::super::exit::{CliError, Exit, exit_of_code};
use super::super::session::{Session, env};
use crate::config::{ClientLayer, ClientSettings};
use crate::security::TokenStore;

/// Longest answer that is read whole.
const ANSWER_BYTES_MAX: u64 = 1 << 30;
/// A token file holds one line; more is not a token.
const TOKEN_BYTES_MAX: u64 = 4096;
/// How long a worker may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A running worker.
pub(crate) struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
}

/// What a call sends.
pub(crate) enum Send<'a> {
    /// Nothing.
    Nothing,
    /// JSON text.
    Json(&'a [u8]),
}

impl Client {
    /// A client for the worker of the settings. The token comes from `TALLOW_TOKEN`, the token file, or the data directory, in this order; a
    /// worker that asks for none needs none. Opens no connection.
    pub(crate) fn new(session: &Session, layer: &ClientLayer) -> Result<Self, CliError> {
        let settings = ClientSettings::resolve(layer, &session.file.client);
        let token = match env("TALLOW_TOKEN") {
            Some(token) => Some(token.into_string().map_err(|_not_text| CliError::usage("TALLOW_TOKEN is not text"))?),
            None => match &settings.token_file {
                Some(path) => Some(read_token(path)?),
                None => stored_token(&TokenStore::new(&session.data_dir).path())?,
            },
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        if token.as_deref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(CliError::usage("the token holds characters that no token has"));
        }
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_connect(Some(CONNECT_TIMEOUT)).max_redirects(0).proxy(None).build();
        Ok(Self { agent: config.new_agent(), url: settings.url, token })
    }

    /// Calls a path and reads the whole answer as JSON. Errors: no connection, or the worker's refusal with its own words.
    pub(crate) fn json(&self, method: &str, path: &str, send: Send<'_>) -> Result<Value, CliError> {
        let bytes = self.bytes(method, path, send, &[])?;
        serde_json::from_slice(&bytes)
            .map_err(|error| CliError::new(Exit::Runtime, format!("{}{path}: the answer is not JSON: {error}", self.url)))
    }

    /// Calls a path and reads the whole answer.
    pub(crate) fn bytes(&self, method: &str, path: &str, send: Send<'_>, headers: &[(&str, &str)]) -> Result<Vec<u8>, CliError> {
        let mut answer = self.call(method, path, send, headers)?;
        let read = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        read.map_err(|error| CliError::new(Exit::Runtime, format!("{}{path}: the answer broke off: {error}", self.url)))
    }

    /// Calls a path; the body of the answer is still to be read. Errors as for [`Client::json`].
    pub(crate) fn call(&self, method: &str, path: &str, send: Send<'_>, headers: &[(&str, &str)]) -> Result<Response<Body>, CliError> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let wrong = |error: ureq::http::Error| CliError::usage(format!("{}{path}: {error}", self.url));
        let answered = match send {
            Send::Nothing => self.agent.run(request.body(()).map_err(wrong)?),
            Send::Json(body) => self.agent.run(request.header("content-type", "application/json").body(body).map_err(wrong)?),
        };
        let answer = answered.map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer)) }
    }

    fn unreachable(&self, error: &ureq::Error) -> CliError {
        CliError::new(
            Exit::Runtime,
            format!("no worker answers at {}: {error}; start one with `tallow serve`, or name another with --url", self.url),
        )
    }
}

/// The token of the data directory, if there is one.
fn stored_token(path: &Path) -> Result<Option<String>, CliError> {
    if path.exists() { read_token(&path.to_path_buf()).map(Some) } else { Ok(None) }
}

fn read_token(path: &PathBuf) -> Result<String, CliError> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| CliError::file(path, &error))?;
    file.take(TOKEN_BYTES_MAX).read_to_string(&mut text).map_err(|error| CliError::file(path, &error))?;
    Ok(text)
}

/// What a worker that says no means for the exit code; its message is passed on.
fn refusal(mut answer: Response<Body>) -> CliError {
    let status = answer.status();
    let body = answer.body_mut().with_config().limit(1 << 20).read_to_string().unwrap_or_default();
    let error = serde_json::from_str::<Value>(&body).ok().and_then(|value| value.get("error").cloned()).unwrap_or_default();
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (code, message) = (text("code"), text("message"));
    let message = if message.is_empty() { format!("the worker answered {status}") } else { format!("{message} ({code})") };
    let exit = match status.as_u16() {
        401 => {
            let hint = "give the token's file with --token-file, the data directory with --data-dir, or the token in TALLOW_TOKEN";
            return CliError::new(Exit::Runtime, format!("{message}; {hint}"));
        }
        404 => Exit::Missing,
        400 | 413 | 422 if exit_of_code(&code) == Exit::Runtime => Exit::Usage,
        _ => exit_of_code(&code),
    };
    CliError::new(exit, message)
}
