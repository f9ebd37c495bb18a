//! Frames: any bytes decode to a message that encodes back to itself, or to a typed error.

use rand::rngs::StdRng;
use serde_json::json;
use tallow::wire::{FRAME_BYTES_MAX, Frame};
use tallow::{TaskError, TaskId, TaskMessage, TaskPriority, TaskProtocol, TaskResult, TaskType};

use crate::bytes::mutated;
use crate::harness::fuzz;

fn corpus() -> Vec<Vec<u8>> {
    let task_id = TaskId::new();
    let request = TaskMessage {
        from: "a".into(),
        to: "b".into(),
        task_id,
        task_type: TaskType::Custom("x".into()),
        payload: vec![0, 1, 2, 255],
        priority: TaskPriority::Low,
    };
    let messages = [
        TaskProtocol::TaskRequest(request),
        TaskProtocol::TaskResponse { task_id, result: Ok(TaskResult::new(json!({ "a": [1, 2.5] }))) },
        TaskProtocol::TaskResponse { task_id, result: Err(TaskError::NotFound { task_id }) },
        TaskProtocol::TaskProgress { task_id, progress: 0.25, message: "m".into() },
        TaskProtocol::TaskCancel { task_id, reason: "r".into() },
    ];
    messages.map(|message| Frame::new(1, message).encode(FRAME_BYTES_MAX).expect("a small message")).to_vec()
}

#[test]
fn frames_read_back_or_are_refused() {
    let corpus = corpus();
    fuzz(
        "frames",
        |random: &mut StdRng, mutations| {
            let mut bytes = mutated(&corpus, mutations, random);
            // Half of the inputs get a right length, so that what is behind it is reached.
            if rand::Rng::random(random) && bytes.len() >= 4 {
                let length = u32::try_from(bytes.len() - 4).expect("inputs are short");
                bytes[..4].copy_from_slice(&length.to_be_bytes());
            }
            bytes
        },
        |bytes| match Frame::decode(bytes, FRAME_BYTES_MAX) {
            Err(error) if error.to_string().len() < 2000 => Ok(()),
            Err(error) => Err(format!("an error of {} bytes", error.to_string().len())),
            Ok(frame) => {
                let again = frame.encode(FRAME_BYTES_MAX).map_err(|error| format!("does not encode: {error}"))?;
                let twice = Frame::decode(&again, FRAME_BYTES_MAX).map_err(|error| format!("does not read back: {error}"))?;
                if twice == frame { Ok(()) } else { Err("reads back as another message".into()) }
            }
        },
    );
}
