//! What `/openapi.json` says about each route. The first entry of every group is what a newcomer tries first.

use super::body::SAFETENSORS;
use super::openapi::{Answer, Media, Param, RouteDoc, SchemaOf, schema};
use super::view::{Accepted, BatchAnswer, BatchBody, EmbeddingsBody, ModelList, StatusAnswer, StatusBody, TaskPage, TaskView};
use crate::task::SubmissionSpec;

const JSON: &str = "application/json";

const fn json(schema: SchemaOf) -> Media {
    Media { kind: JSON, schema: Some(schema), example: None }
}

const fn example(schema: SchemaOf, text: &'static str) -> Media {
    Media { kind: JSON, schema: Some(schema), example: Some(text) }
}

const fn bytes(kind: &'static str) -> Media {
    Media { kind, schema: None, example: None }
}

const fn param(place: &'static str, name: &'static str, kind: &'static str, what: &'static str) -> Param {
    Param { name, place, kind, what }
}

const ID: Param = param("path", "id", "string", "The id that submit returned.");
const LAST_EVENT_ID: Param = param(
    "header",
    "last-event-id",
    "string",
    "The `id` of the last event that was seen; the stream goes on after it. A number alone counts from the worker's start.",
);
const OK: Answer = Answer { status: 200, what: "ok", media: &[Media { kind: JSON, schema: None, example: None }] };
const VIEW: &[Media] = &[json(schema::<TaskView>)];
const SSE: Answer = Answer {
    status: 200,
    what: "an event stream: `id` is `<epoch>-<number>`, `event` the event's name, `data` JSON. Numbers count from the worker's start and the epoch \
        changes with it. Where events are no longer held, `event: missed` comes first with their `count`; after a restart nobody knows it, so `count` \
        is null and `reason` says why. The stream then goes on from the oldest event that is held",
    media: &[bytes("text/event-stream")],
};

const BASE: RouteDoc = RouteDoc {
    method: "get",
    path: "",
    tag: "operations",
    summary: "",
    description: "",
    params: &[],
    body: &[],
    answers: &[OK],
    refusals: &[],
};

/// Every route.
pub(crate) const DOCS: &[RouteDoc] = &[
    RouteDoc {
        method: "post",
        path: "/v1/tasks",
        tag: "tasks",
        summary: "Submit a task",
        description: "The task runs by itself. With wait_ms the answer is held until it has ended (200) or the time is over (202). A body of type \
            application/vnd.safetensors carries binary parts: its __metadata__.submission is the JSON of the submission, its tensors become the parts.",
        params: &[
            param("query", "wait_ms", "integer", "Hold the answer for the result, up to this long."),
            param(
                "header",
                "idempotency-key",
                "string",
                "The same submission again under the same key returns the first task's id; as `idempotency_key` in the body.",
            ),
        ],
        body: &[
            example(
                schema::<SubmissionSpec>,
                r#"{"type": "text_processing", "data": {"operation": "word_count", "text": "to be or not to be"}}"#,
            ),
            bytes(SAFETENSORS),
        ],
        answers: &[
            Answer { status: 202, what: "accepted; `location` names the task", media: &[json(schema::<Accepted>)] },
            Answer { status: 200, what: "ended within wait_ms", media: VIEW },
        ],
        refusals: &[409, 422, 503],
    },
    RouteDoc {
        path: "/v1/tasks",
        tag: "tasks",
        summary: "List tasks",
        description: "Oldest first. `next` of a page is the `after` of the following one.",
        params: &[
            param("query", "status", "string", "pending, running, completed, failed or cancelled."),
            param("query", "type", "string", "A task type."),
            param("query", "label", "string", "`name=value`."),
            param("query", "after", "string", "Only tasks made after this one."),
            param("query", "limit", "integer", "1 to 1000; 100 by default."),
        ],
        answers: &[Answer { status: 200, what: "a page", media: &[json(schema::<TaskPage>)] }],
        ..BASE
    },
    RouteDoc {
        path: "/v1/tasks/{id}",
        tag: "tasks",
        summary: "Look at a task",
        description: "With its result once it is completed, or its error.",
        params: &[ID],
        answers: &[Answer { status: 200, what: "the task", media: VIEW }],
        ..BASE
    },
    RouteDoc {
        method: "delete",
        path: "/v1/tasks/{id}",
        tag: "tasks",
        summary: "Cancel a task",
        description: "Waiting tasks stop at once, running ones at their next check. A task that has ended answers 409.",
        params: &[ID],
        answers: &[Answer { status: 200, what: "cancelled", media: VIEW }],
        refusals: &[409],
        ..BASE
    },
    RouteDoc {
        method: "post",
        path: "/v1/tasks/batch",
        tag: "tasks",
        summary: "Submit many tasks",
        description: "With atomic, all or none are accepted and tasks may refer to each other by name; otherwise each has its own outcome, a malformed \
            one too, and an array alone is enough. 202 when at least one was accepted; when none was, the status of the first refusal.",
        body: &[example(
            schema::<BatchBody>,
            r#"{"atomic": true, "tasks": [
                {"name": "pieces", "type": "text_processing", "data": {"operation": "chunk", "text": "A long text. And more."}},
                {"name": "vectors", "type": "model_inference",
                 "data": {"operation": "embed", "texts": {"$from": "pieces", "path": "/chunks/*/text"}, "encoding": "part"}}]}"#,
        )],
        answers: &[Answer { status: 202, what: "the outcomes, in order", media: &[json(schema::<BatchAnswer>)] }],
        refusals: &[409, 422, 424, 503],
        ..BASE
    },
    RouteDoc {
        method: "post",
        path: "/v1/tasks/status",
        tag: "tasks",
        summary: "Statuses of many tasks",
        description: "In the order of the ids; a task that is not known has the status `unknown`.",
        body: &[example(schema::<StatusBody>, r#"{"ids": []}"#)],
        answers: &[Answer { status: 200, what: "the statuses", media: &[json(schema::<StatusAnswer<'_>>)] }],
        ..BASE
    },
    RouteDoc {
        path: "/v1/tasks/{id}/events",
        tag: "tasks",
        summary: "Watch a task",
        description: "What is still known of it, then what happens, until it ends.",
        params: &[ID, LAST_EVENT_ID, param("query", "from", "integer", "Begin at this event number.")],
        answers: &[SSE],
        refusals: &[429],
        ..BASE
    },
    RouteDoc {
        path: "/v1/events",
        tag: "tasks",
        summary: "Watch all tasks",
        description: "From now on, or from `from`. A reader that is too slow gets `event: missed` with the number of events it lost; so does one that comes back after a restart, without a number.",
        params: &[LAST_EVENT_ID, param("query", "from", "integer", "Begin at this event number; 0 is the oldest that is kept.")],
        answers: &[SSE],
        refusals: &[429],
        ..BASE
    },
    RouteDoc {
        path: "/v1/tasks/{id}/parts",
        tag: "results",
        summary: "All binary parts of a result",
        description: "As one safetensors body.",
        params: &[ID],
        answers: &[Answer { status: 200, what: "safetensors", media: &[bytes(SAFETENSORS)] }],
        ..BASE
    },
    RouteDoc {
        path: "/v1/tasks/{id}/parts/{name}",
        tag: "results",
        summary: "One binary part of a result",
        description: "Little-endian, row-major; x-tallow-dtype and x-tallow-shape describe it. With `accept: application/x-npy`, a .npy file.",
        params: &[ID, param("path", "name", "string", "The part's name.")],
        answers: &[Answer { status: 200, what: "the bytes", media: &[bytes("application/octet-stream"), bytes("application/x-npy")] }],
        refusals: &[406],
        ..BASE
    },
    RouteDoc {
        method: "post",
        path: "/v1/embeddings",
        tag: "openai",
        summary: "Embed texts",
        description: "OpenAI's shape. The task behind it is cancelled when the caller goes away. Token ids are refused: they belong to another tokenizer. \
            The header x-tallow-precision names what the vectors were computed in.",
        body: &[example(schema::<EmbeddingsBody>, r#"{"input": ["why is the sky blue?", "blue light scatters"]}"#)],
        refusals: &[409, 422, 503, 504],
        ..BASE
    },
    RouteDoc {
        path: "/v1/models",
        tag: "openai",
        summary: "List models",
        description: "Every model that a task may name: the built-in one, folders of models, the Hugging Face cache. `loaded` says which are in \
            memory; any other is loaded by the first task that names it. `precision` is what a loaded model computes with, and the worker's setting \
            for any other.",
        answers: &[Answer { status: 200, what: "the models", media: &[json(schema::<ModelList>)] }],
        ..BASE
    },
    RouteDoc {
        path: "/v1/models/{id}",
        tag: "openai",
        summary: "Look at a model",
        params: &[param("path", "id", "string", "The model's name; it may hold a slash.")],
        ..BASE
    },
    RouteDoc {
        path: "/v1/executors",
        tag: "worker",
        summary: "What this worker can do",
        description: "Types, operations with JSON Schemas, models, devices, memory, limits and the queue, measured when asked. `throughput` has one entry \
            per operation of an executor that has completed a task: sums since the start (tasks, documents, prompt and completion tokens) and rates per \
            second over the last minute.",
        ..BASE
    },
    RouteDoc { path: "/livez", summary: "The process answers", ..BASE },
    RouteDoc { path: "/readyz", summary: "Tasks are taken", description: "503 with the reasons when not.", refusals: &[503], ..BASE },
    RouteDoc { path: "/health", summary: "The same as /readyz", refusals: &[503], ..BASE },
    RouteDoc {
        path: "/metrics",
        summary: "Prometheus metrics",
        answers: &[Answer { status: 200, what: "text", media: &[bytes("text/plain")] }],
        ..BASE
    },
    RouteDoc { path: "/openapi.json", summary: "This document", ..BASE },
    RouteDoc {
        path: "/docs",
        summary: "This document for people",
        description: "Without a token, a browser gets a field to enter it.",
        answers: &[Answer { status: 200, what: "a page", media: &[bytes("text/html")] }],
        ..BASE
    },
];
