//! Framing, sizes, types and slowness, in raw bytes.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{Served, TOKEN, plain, served};

fn head(line: &str, headers: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n{headers}\r\n").into_bytes()
}

async fn still_serves(worker: &Served) {
    assert_eq!(worker.bare("GET /livez", &[], b"").await.status, 200, "the worker no longer answers");
}

#[tokio::test]
async fn heads_beyond_their_bounds_are_refused() {
    let worker = plain().await;
    let many: String = (0..65).map(|idx| format!("x-{idx}: 1\r\n")).collect();
    let cases = [
        (head("GET /v1/models", &many), 431, Some("headers_too_large")),
        (head("GET /v1/models", &format!("x: {}\r\n", "y".repeat(17 * 1024))), 431, Some("headers_too_large")),
        (head(&format!("GET /v1/models?{}", "q".repeat(9 * 1024)), ""), 414, Some("uri_too_long")),
        (head("GET /v1/models", &format!("x: {}\r\n", "y".repeat(200 * 1024))), 431, None),
        (head("GET /v1/models", "x: a\rb\r\n"), 400, None),
        (head("GET /v1/models", "bad header: a\r\n"), 400, None),
        (head("GET /v1/tasks/%00", ""), 404, Some("not_found")),
        (head("GET /v1/tasks/..%2f..%2fetc", ""), 404, Some("not_found")),
        (head("GET /v1/tasks/%ff%fe", ""), 400, None),
        (head("GET /v1/tasks?status=odd", ""), 400, Some("invalid_query")),
        (head("GET /v1/tasks?limit=0", ""), 400, Some("out_of_range")),
        (head("GET /v1/tasks?limit=99999999999999999999", ""), 400, Some("invalid_query")),
        (head("GET /v1/tasks?limit=1&limit=2", ""), 400, Some("invalid_query")),
        (head("GET /v1/tasks?nonsense=1", ""), 400, Some("invalid_query")),
        (b"NONSENSE\r\n\r\n".to_vec(), 400, None),
    ];
    for (bytes, status, code) in cases {
        let answer = worker.raw(&bytes).await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert_eq!(answer.status, status, "{shown}");
        if let Some(code) = code {
            assert_eq!(answer.code(), code, "{shown}");
        }
    }
    still_serves(&worker).await;
    worker.stop().await;
}

#[tokio::test]
async fn bodies_that_are_too_large_or_lie_are_refused() {
    let worker = served(|options, _| options.limits.body_bytes_max = 4096).await;
    let post = |headers: &str, body: &[u8]| {
        [head("POST /v1/tasks", &format!("content-type: application/json\r\n{headers}")), body.to_vec()].concat()
    };
    let large = vec![b' '; 5000];
    let mut chunked = Vec::new();
    for _ in 0..50 {
        chunked.extend_from_slice(b"64\r\n");
        chunked.extend_from_slice(&[b' '; 100]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for (bytes, status) in [
        (post("content-length: 5000\r\n", &large), 413),
        (post("content-length: 9223372036854775808\r\n", b"{}"), 413),
        (post("content-length: 99999999999999999999999\r\n", b"{}"), 400),
        (post("content-length: -1\r\n", b"{}"), 400),
        (post("content-length: 1\r\ncontent-length: 2\r\n", b"{}"), 400),
        (post("transfer-encoding: chunked\r\n", &chunked), 413),
        (post("transfer-encoding: chunked\r\n", b"fffffffffffffffff\r\n{}"), 400),
        (post("transfer-encoding: gzip\r\n", b"{}"), 400),
        (post("content-encoding: gzip\r\ncontent-length: 2\r\n", b"{}"), 415),
        (post("content-length: 0\r\n", b""), 400),
    ] {
        let answer = worker.raw(&bytes).await;
        assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&bytes[..bytes.len().min(200)]));
    }
    // Length and chunking together: chunking wins and the connection is closed, so nothing can be smuggled behind it.
    let both = format!(
        "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n\
         content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"
    );
    let answer = worker.raw(both.as_bytes()).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(!String::from_utf8_lossy(&answer.body).contains("HTTP/1.1 200"), "a second answer came back");
    still_serves(&worker).await;
    worker.stop().await;
}

#[tokio::test]
async fn only_declared_json_is_json() {
    let worker = plain().await;
    let body = json!({ "type": { "custom": "test" }, "data": { "operation": "echo" } }).to_string();
    for (kind, status) in [
        (Some("application/json"), 202),
        (Some("application/json; charset=utf-8"), 202),
        (Some("APPLICATION/JSON;charset=\"UTF-8\""), 202),
        (Some("application/json; charset=utf-16"), 415),
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("multipart/form-data; boundary=x"), 415),
        (None, 415),
    ] {
        let headers: Vec<(&str, &str)> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
        assert_eq!(worker.call("POST /v1/tasks", &headers, body.as_bytes()).await.status, status, "{kind:?}");
    }
    let twice = [("content-type", "application/json"), ("content-type", "text/plain")];
    assert_eq!(worker.call("POST /v1/tasks", &twice, body.as_bytes()).await.status, 415);
    worker.stop().await;
}

#[tokio::test]
async fn bad_documents_are_refused_with_their_place() {
    let worker = plain().await;
    let task = |extra: &str| format!(r#"{{"type": {{"custom": "test"}}, "data": {{"operation": "echo"}}{extra}}}"#);
    let deep = format!(r#"{{"type": {{"custom": "test"}}, "data": {}"#, "[".repeat(100_000));
    for (body, code, param) in [
        ("null".to_owned(), "expected_object", None),
        ("[]".to_owned(), "expected_object", None),
        ("{".to_owned(), "invalid_json", None),
        (deep, "json_too_deep", None),
        (task(r#", "priority": "low", "priority": "high""#), "duplicate_field", None),
        (task(r#", "status": "completed""#), "unknown_field", Some("status")),
        (task(r#", "submitter": "root""#), "unknown_field", Some("submitter")),
        (task(r#", "priority": "Ultra""#), "invalid_payload", Some("priority")),
        (task(r#", "deadline_ms": -5"#), "invalid_payload", Some("deadline_ms")),
        (task(r#", "deadline_ms": 99999999999999"#), "invalid_payload", Some("deadline_ms")),
        (task(r#", "retries_max": 1000000"#), "invalid_payload", Some("retries_max")),
        (task(r#", "depends_on": ["nobody"]"#), "invalid_payload", None),
        (task(r#", "idempotency_key": """#), "invalid_payload", Some("idempotency_key")),
        (r#"{"type": {"custom": ""}, "data": {}}"#.into(), "invalid_payload", None),
        (r#"{"type": {"custom": "a b"}, "data": {}}"#.into(), "invalid_payload", None),
        (r#"{"type": {"custom": "x.>"}, "data": {}}"#.into(), "invalid_payload", None),
        (r#"{"type": {"custom": "\r\nPUB"}, "data": {}}"#.into(), "invalid_payload", None),
        (r#"{"type": "nonsense", "data": {}}"#.into(), "invalid_payload", Some("type")),
    ] {
        let answer = worker.call("POST /v1/tasks", &[("content-type", "application/json")], body.as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{body:.80}: {answer:?}");
        if let Some(param) = param {
            assert_eq!(answer.json()["error"]["param"], param, "{body:.80}");
        }
    }
    worker.stop().await;
}

#[tokio::test]
async fn slow_senders_are_closed() {
    let worker = served(|options, _| {
        options.limits.header_timeout = Duration::from_millis(200);
        options.limits.stall_timeout = Duration::from_millis(200);
    })
    .await;
    let body = head("POST /v1/tasks", "content-type: application/json\r\ncontent-length: 100\r\n");
    for (what, bytes) in [("nothing", &b""[..]), ("half a head", &b"GET /livez HTTP/1.1\r\nhost: "[..]), ("half a body", &body[..])] {
        let mut stream = TcpStream::connect(worker.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let began = Instant::now();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{what}: still open after {:?}", began.elapsed());
    }
    still_serves(&worker).await;
    worker.stop().await;
}

#[tokio::test]
async fn old_and_eager_clients_get_answers() {
    let worker = plain().await;
    let old = worker.raw(b"GET /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.status, 200);
    let pipelined: Vec<u8> = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(999);
    let last = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_vec();
    let mut stream = TcpStream::connect(worker.address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut answers = Vec::new();
    let bytes = [pipelined, last].concat();
    let (sent, read) = tokio::join!(writer.write_all(&bytes), reader.read_to_end(&mut answers));
    sent.unwrap();
    read.unwrap();
    assert_eq!(String::from_utf8_lossy(&answers).matches("HTTP/1.1 200").count(), 1000);
    worker.stop().await;
}
