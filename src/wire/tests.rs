//! Frames read back, and nothing else is taken for one.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::task::{TaskError, TaskId, TaskPriority, TaskResult, TaskType};

fn request(from: &str) -> TaskProtocol {
    TaskProtocol::TaskRequest(TaskMessage {
        from: from.into(),
        to: "worker-b".into(),
        task_id: TaskId::new(),
        task_type: TaskType::Custom("x".into()),
        payload: vec![0, 255, 7],
        priority: TaskPriority::High,
    })
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Frame, WireError> {
    Frame::decode(bytes, FRAME_BYTES_MAX)
}

fn code(body: &serde_json::Value) -> &'static str {
    decode(&framed(body.to_string().as_bytes())).unwrap_err().code()
}

#[test]
fn every_message_reads_back() {
    let task_id = TaskId::new();
    let messages = [
        request("worker-a"),
        TaskProtocol::TaskResponse { task_id, result: Ok(TaskResult::new(json!({ "a": [1, 2.5, null, "ü"] }))) },
        TaskProtocol::TaskResponse { task_id, result: Err(TaskError::UnsupportedTaskType) },
        TaskProtocol::TaskResponse { task_id, result: Err(TaskError::invalid("a[3]", "found 0")) },
        TaskProtocol::TaskProgress { task_id, progress: 0.5, message: "half".into() },
        TaskProtocol::TaskCancel { task_id, reason: "no longer wanted".into() },
    ];
    for message in messages {
        let frame = Frame::new(3, message);
        let bytes = frame.encode(FRAME_BYTES_MAX).unwrap();
        assert_eq!(decode(&bytes).unwrap(), frame);
        assert_eq!(Frame::body_bytes(bytes[..4].try_into().unwrap(), FRAME_BYTES_MAX).unwrap(), bytes.len() - 4);
    }
}

#[test]
fn the_json_is_what_other_agents_write() {
    let TaskProtocol::TaskRequest(message) = request("worker-a") else { unreachable!() };
    let body = json!({ "version": 1, "attempt": 1, "message": { "task_request": {
        "from": "worker-a", "to": "worker-b", "task_id": message.task_id, "task_type": { "custom": "x" }, "payload": "AP8H", "priority": "high" } } });
    assert_eq!(decode(&framed(body.to_string().as_bytes())).unwrap().message, TaskProtocol::TaskRequest(message));
    let done = TaskProtocol::TaskResponse { task_id: TaskId::new(), result: Ok(TaskResult::default()) };
    assert!(serde_json::to_value(&done).unwrap()["task_response"]["result"]["ok"].is_object());
}

#[test]
fn an_inside_detail_never_leaves_the_worker() {
    let result = Err(TaskError::internal("outside", "inside detail"));
    let bytes = Frame::new(1, TaskProtocol::TaskResponse { task_id: TaskId::new(), result }).encode(FRAME_BYTES_MAX).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("inside detail"));
}

#[test]
fn what_is_not_exactly_one_frame_is_refused_by_kind() {
    let good = Frame::new(1, request("a")).encode(FRAME_BYTES_MAX).unwrap();
    assert!(matches!(decode(&[]), Err(WireError::Incomplete { needed_bytes: 4, found_bytes: 0 })));
    assert!(matches!(decode(&good[..good.len() - 1]), Err(WireError::Incomplete { .. })));
    let mut longer = good.clone();
    longer.push(b' ');
    assert_eq!(decode(&longer), Err(WireError::TrailingBytes { count: 1 }));
    assert_eq!(
        decode(&u32::MAX.to_be_bytes()),
        Err(WireError::TooLarge { found_bytes: u32::MAX.into(), limit_bytes: FRAME_BYTES_MAX as u64 })
    );
    assert_eq!(decode(&framed(b"")).unwrap_err().code(), "frame_malformed");
    assert_eq!(decode(&framed(b"{} {}")).unwrap_err().code(), "frame_malformed");
    let deep = "[".repeat(100_000);
    assert_eq!(decode(&framed(deep.as_bytes())).unwrap_err().code(), "frame_malformed");
}

#[test]
fn versions_and_messages_of_the_future_are_told_from_broken_ones() {
    let id = TaskId::new().to_string();
    let cancel = json!({ "task_id": id, "reason": "r" });
    assert_eq!(code(&json!({ "version": 2, "anything": { "task_dance": 1 } })), "wire_version_unsupported");
    assert_eq!(code(&json!({ "version": 0, "attempt": 1, "message": { "task_cancel": cancel } })), "wire_version_unsupported");
    assert_eq!(code(&json!({ "version": 1, "attempt": 1, "message": { "task_dance": {} } })), "message_unknown");
    let malformed = [
        json!({ "version": 1 }),
        json!({ "version": -1, "attempt": 1, "message": { "task_cancel": cancel } }),
        json!({ "version": 1, "attempt": 0, "message": { "task_cancel": cancel } }),
        json!({ "version": 1, "attempt": 1, "message": {} }),
        json!({ "version": 1, "attempt": 1, "message": "task_cancel" }),
        json!({ "version": 1, "attempt": 1, "message": { "task_cancel": cancel, "task_dance": 1 } }),
        json!({ "version": 1, "attempt": 1, "message": { "task_cancel": { "task_id": "?", "reason": "r" } } }),
        json!({ "version": 1, "attempt": 1, "message": { "task_cancel": { "task_id": id, "reason": "r", "more": 1 } } }),
        json!({ "version": 1, "attempt": 1, "more": 1, "message": { "task_cancel": cancel } }),
        json!({ "version": 1, "attempt": 1, "message": { "task_cancel": { "task_id": id, "reason": "r".repeat(5000) } } }),
        json!({ "version": 1, "attempt": 1, "message": { "task_progress": { "task_id": id, "progress": 1.5, "message": "" } } }),
        json!({ "version": 1, "attempt": 1, "message": { "task_progress": { "task_id": id, "progress": null, "message": "" } } }),
    ];
    for body in malformed {
        assert_eq!(code(&body), "frame_malformed", "{body}");
    }
}

#[test]
fn an_error_names_the_field_and_stays_short() {
    let body = json!({ "version": 1, "attempt": 1, "message": { "task_cancel": { "task_id": "x".repeat(50_000), "reason": "r" } } });
    let error = decode(&framed(body.to_string().as_bytes())).unwrap_err();
    assert!(matches!(error, WireError::Malformed { ref path, .. } if path == "message.task_cancel.task_id"), "{error}");
    assert!(error.to_string().len() < 1000);
}

#[test]
fn a_message_out_of_bounds_is_not_sent() {
    let task_id = TaskId::new();
    for progress in [f32::NAN, f32::INFINITY, -0.1, 1.1] {
        let frame = Frame::new(1, TaskProtocol::TaskProgress { task_id, progress, message: String::new() });
        assert_eq!(frame.encode(FRAME_BYTES_MAX).unwrap_err().code(), "frame_malformed", "{progress}");
    }
    let TaskProtocol::TaskRequest(mut message) = request("a") else { unreachable!() };
    message.task_type = TaskType::Custom("Not Allowed".into());
    assert!(Frame::new(1, TaskProtocol::TaskRequest(message.clone())).encode(FRAME_BYTES_MAX).is_err());
    message.task_type = TaskType::Storage;
    message.payload = vec![1; FRAME_BYTES_MAX];
    let error = Frame::new(1, TaskProtocol::TaskRequest(message)).encode(FRAME_BYTES_MAX).unwrap_err();
    assert!(matches!(error, WireError::TooLarge { found_bytes, .. } if found_bytes > FRAME_BYTES_MAX as u64), "{error}");
}

#[test]
fn the_bound_is_exact() {
    let frame = Frame::new(1, request("a"));
    let body_bytes = frame.encode(FRAME_BYTES_MAX).unwrap().len() - PREFIX_BYTES;
    assert!(frame.encode(body_bytes).is_ok());
    assert_eq!(frame.encode(body_bytes - 1).unwrap_err().code(), "frame_too_large");
}

#[test]
fn a_peer_speaks_for_itself_alone() {
    assert_eq!(check_sender(&request("a"), "a"), Ok(()));
    assert_eq!(check_sender(&request("a"), "b"), Err(WireError::SenderMismatch { claimed: "a".into() }));
    assert_eq!(check_sender(&request(""), "b").unwrap_err().code(), "sender_mismatch");
    assert_eq!(check_sender(&TaskProtocol::TaskCancel { task_id: TaskId::new(), reason: String::new() }, "b"), Ok(()));
}

prop_compose! {
    fn any_request()(from in "\\PC{0,40}", to in "\\PC{0,40}", payload in prop::collection::vec(any::<u8>(), 0..300), level in 0usize..4)
        -> TaskProtocol {
        let priority = TaskPriority::ALL[level];
        TaskProtocol::TaskRequest(TaskMessage { from, to, task_id: TaskId::new(), task_type: TaskType::TextProcessing, payload, priority })
    }
}

proptest! {
    #[test]
    fn any_request_reads_back(message in any_request(), attempt in 1u32..) {
        let frame = Frame::new(attempt, message);
        prop_assert_eq!(decode(&frame.encode(FRAME_BYTES_MAX).unwrap()).unwrap(), frame);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(frame) = decode(&bytes) {
            prop_assert!(frame.encode(FRAME_BYTES_MAX).is_ok());
        }
        prop_assert!(decode(&framed(&bytes)).is_err());
    }

    #[test]
    fn a_damaged_frame_is_an_error_or_another_frame(message in any_request(), at: prop::sample::Index, byte: u8, cut in any::<bool>()) {
        let mut bytes = Frame::new(1, message).encode(FRAME_BYTES_MAX).unwrap();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(frame) = decode(&bytes) {
            prop_assert_eq!(decode(&frame.encode(FRAME_BYTES_MAX).unwrap()).unwrap(), frame);
        }
    }
}
