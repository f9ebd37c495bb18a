//! What `/openapi.json` says about reranking and the routes of text-embeddings-inference.

use super::view::{EmbedBody, Info, PredictBody, Rank, RankBody, SimilarityBody, SparseValue, TextsBody, Token, TokenizeBody};
use crate::http::openapi::{Answer, Media, RouteDoc, SchemaOf, schema};
use crate::http::rerank::{RerankAnswer, RerankBody};
use crate::task::inference::LabelScore;

const JSON: &str = "application/json";

const fn json(schema: SchemaOf) -> Media {
    Media { kind: JSON, schema: Some(schema), example: None }
}

const fn example(schema: SchemaOf, text: &'static str) -> Media {
    Media { kind: JSON, schema: Some(schema), example: Some(text) }
}

const fn ok(what: &'static str, media: &'static [Media]) -> Answer {
    Answer { status: 200, what, media }
}

const BASE: RouteDoc = RouteDoc {
    method: "post",
    path: "",
    tag: "encoders",
    summary: "",
    description: "",
    params: &[],
    body: &[],
    answers: &[],
    refusals: &[409, 422, 503, 504],
};

/// The routes.
pub(crate) const DOCS: &[RouteDoc] = &[
    RouteDoc {
        path: "/v1/rerank",
        summary: "Order documents by relevance to a query",
        description: "The shape of Cohere and Jina. Needs a cross-encoder; a model without such a head is refused with a list of what it offers.",
        body: &[example(
            schema::<RerankBody>,
            r#"{"query": "why is the sky blue?", "documents": ["blue light scatters", "tea is warm"], "top_n": 1}"#,
        )],
        answers: &[ok("the documents, best first", &[json(schema::<RerankAnswer>)])],
        ..BASE
    },
    RouteDoc {
        path: "/rerank",
        summary: "Order texts by relevance to a query",
        description: "The shape of text-embeddings-inference.",
        body: &[example(schema::<RankBody>, r#"{"query": "why is the sky blue?", "texts": ["blue light scatters", "tea is warm"]}"#)],
        answers: &[ok("the texts, best first", &[json(schema::<Vec<Rank>>)])],
        ..BASE
    },
    RouteDoc {
        path: "/embed",
        summary: "Embed texts",
        description: "The shape of text-embeddings-inference. Long texts are an error unless `truncate` is true.",
        body: &[example(schema::<EmbedBody>, r#"{"inputs": ["why is the sky blue?"]}"#)],
        answers: &[ok("one vector per text", &[json(schema::<Vec<Vec<f32>>>)])],
        ..BASE
    },
    RouteDoc {
        path: "/embed_all",
        summary: "Embed every token",
        description: "The last hidden state of each token, special tokens included, without pooling.",
        body: &[example(schema::<TextsBody>, r#"{"inputs": "why is the sky blue?"}"#)],
        answers: &[ok("vectors by text and token", &[json(schema::<Vec<Vec<Vec<f32>>>>)])],
        ..BASE
    },
    RouteDoc {
        path: "/embed_sparse",
        summary: "Embed texts sparsely (SPLADE)",
        description: "Needs a masked-language-model head. Heaviest entries first.",
        body: &[example(schema::<TextsBody>, r#"{"inputs": "why is the sky blue?"}"#)],
        answers: &[ok("entries above zero by text", &[json(schema::<Vec<Vec<SparseValue>>>)])],
        ..BASE
    },
    RouteDoc {
        path: "/predict",
        summary: "Classify texts or pairs",
        description: "A text, a pair [first, second], or a batch of arrays of one or of pairs. Needs a sequence classification head.",
        body: &[example(schema::<PredictBody>, r#"{"inputs": [["I like this"], ["I do not"]]}"#)],
        answers: &[ok("labels, best first; an array of them for a batch", &[json(schema::<Vec<LabelScore>>)])],
        ..BASE
    },
    RouteDoc {
        path: "/tokenize",
        summary: "Split texts into a model's tokens",
        body: &[example(schema::<TokenizeBody>, r#"{"inputs": "why is the sky blue?"}"#)],
        answers: &[ok("tokens by text; places count characters", &[json(schema::<Vec<Vec<Token>>>)])],
        ..BASE
    },
    RouteDoc {
        path: "/similarity",
        summary: "Compare a sentence with others",
        body: &[example(
            schema::<SimilarityBody>,
            r#"{"inputs": {"source_sentence": "the sky is blue", "sentences": ["blue light scatters", "tea is warm"]}}"#,
        )],
        answers: &[ok("one cosine per sentence", &[json(schema::<Vec<f32>>)])],
        ..BASE
    },
    RouteDoc {
        method: "get",
        path: "/info",
        summary: "The default model and the limits",
        description: "What is declared and what is loaded now.",
        answers: &[ok("the facts", &[json(schema::<Info>)])],
        refusals: &[],
        ..BASE
    },
];
