//! The architectures of GGUF files that can be run: for each the family of `arch`, the names of its tensors on both sides, and the fields of its
//! configuration.
//!
//! Sources of the spellings: the tables of the Python package `gguf` and the converters that write such files.

use serde_json::{Map, Value, json};

use super::metadata::Metadata;
use crate::ModelError;
use crate::weights::{TensorNames, Weights};

/// Puts the fields of one architecture beside those that all share.
type OwnFields = fn(&Family, &Metadata<'_>, &mut Map<String, Value>) -> Result<(), ModelError>;

/// An architecture of the format.
pub(super) struct Family {
    /// `general.architecture`.
    pub(super) architecture: &'static str,
    /// The `model_type` that runs it.
    model_type: &'static str,
    /// True for models that also generate text, and are embedders only where they say so.
    pub(super) decoder: bool,
    pub(super) names: TensorNames,
    /// Linear layers behind the pooling that a file may hold, in their order.
    pub(super) dense: &'static [&'static str],
    own: OwnFields,
    /// What is to be done with the weights once they are read and renamed.
    pub(super) adapt: fn(&mut Weights) -> Result<(), ModelError>,
}

/// Keys that all share, and the fields they become.
const FIELDS: &[(&str, &str)] = &[
    ("embedding_length", "hidden_size"),
    ("block_count", "num_hidden_layers"),
    ("attention.head_count", "num_attention_heads"),
    ("feed_forward_length", "intermediate_size"),
];

/// Pairs of names of a BERT's block.
macro_rules! bert_names {
    ($($more:expr),* $(,)?) => {
        TensorNames(&[
            ("token_embd", "embeddings.word_embeddings"),
            ("position_embd", "embeddings.position_embeddings"),
            ("token_types", "embeddings.token_type_embeddings"),
            ("token_embd_norm", "embeddings.LayerNorm"),
            ("blk.*.attn_q", "encoder.layer.*.attention.self.query"),
            ("blk.*.attn_k", "encoder.layer.*.attention.self.key"),
            ("blk.*.attn_v", "encoder.layer.*.attention.self.value"),
            ("blk.*.attn_output", "encoder.layer.*.attention.output.dense"),
            ("blk.*.attn_output_norm", "encoder.layer.*.attention.output.LayerNorm"),
            $($more),*
        ])
    };
}

/// Pairs of names of a decoder with grouped queries.
macro_rules! decoder_names {
    ($($more:expr),* $(,)?) => {
        TensorNames(&[
            ("token_embd", "embed_tokens"),
            ("output_norm", "norm"),
            ("blk.*.attn_norm", "layers.*.input_layernorm"),
            ("blk.*.attn_q", "layers.*.self_attn.q_proj"),
            ("blk.*.attn_k", "layers.*.self_attn.k_proj"),
            ("blk.*.attn_v", "layers.*.self_attn.v_proj"),
            ("blk.*.attn_output", "layers.*.self_attn.o_proj"),
            ("blk.*.attn_q_norm", "layers.*.self_attn.q_norm"),
            ("blk.*.attn_k_norm", "layers.*.self_attn.k_norm"),
            ("blk.*.ffn_gate", "layers.*.mlp.gate_proj"),
            ("blk.*.ffn_up", "layers.*.mlp.up_proj"),
            ("blk.*.ffn_down", "layers.*.mlp.down_proj"),
            $($more),*
        ])
    };
}

const BERT: Family = Family {
    architecture: "bert",
    model_type: "bert",
    decoder: false,
    names: bert_names![
        ("blk.*.ffn_up", "encoder.layer.*.intermediate.dense"),
        ("blk.*.ffn_down", "encoder.layer.*.output.dense"),
        ("blk.*.layer_output_norm", "encoder.layer.*.output.LayerNorm"),
    ],
    dense: &[],
    own: bert_fields,
    adapt: one_segment,
};

const JINA: Family = Family {
    architecture: "jina-bert-v2",
    names: bert_names![
        ("blk.*.ffn_gate", "encoder.layer.*.mlp.gate"),
        ("blk.*.ffn_up", "encoder.layer.*.mlp.gated_layers"),
        ("blk.*.ffn_down", "encoder.layer.*.mlp.wo"),
        ("blk.*.layer_output_norm", "encoder.layer.*.mlp.layernorm"),
    ],
    own: jina_fields,
    adapt: join_gates,
    ..BERT
};

const NOMIC: Family = Family {
    architecture: "nomic-bert",
    model_type: "nomic_bert",
    names: TensorNames(&[
        ("token_embd", "embeddings.word_embeddings"),
        ("token_types", "embeddings.token_type_embeddings"),
        ("token_embd_norm", "emb_ln"),
        ("blk.*.attn_qkv", "encoder.layers.*.attn.Wqkv"),
        ("blk.*.attn_output", "encoder.layers.*.attn.out_proj"),
        ("blk.*.attn_output_norm", "encoder.layers.*.norm1"),
        ("blk.*.ffn_up", "encoder.layers.*.mlp.fc11"),
        ("blk.*.ffn_gate", "encoder.layers.*.mlp.fc12"),
        ("blk.*.ffn_down", "encoder.layers.*.mlp.fc2"),
        ("blk.*.layer_output_norm", "encoder.layers.*.norm2"),
    ]),
    own: nomic_fields,
    ..BERT
};

const MODERN: Family = Family {
    architecture: "modern-bert",
    model_type: "modernbert",
    names: TensorNames(&[
        ("token_embd", "embeddings.tok_embeddings"),
        ("token_embd_norm", "embeddings.norm"),
        ("output_norm", "final_norm"),
        ("blk.*.attn_norm", "layers.*.attn_norm"),
        ("blk.*.attn_qkv", "layers.*.attn.Wqkv"),
        ("blk.*.attn_output", "layers.*.attn.Wo"),
        ("blk.*.ffn_norm", "layers.*.mlp_norm"),
        ("blk.*.ffn_up", "layers.*.mlp.Wi"),
        ("blk.*.ffn_down", "layers.*.mlp.Wo"),
    ]),
    own: modern_fields,
    ..BERT
};

const QWEN: Family = Family {
    architecture: "qwen3",
    model_type: "qwen3",
    decoder: true,
    // `output` is what generating needs; a tied one is not even there.
    names: decoder_names![("blk.*.ffn_norm", "layers.*.post_attention_layernorm"), ("output", "lm_head")],
    dense: &[],
    own: qwen_fields,
    adapt: as_read,
};

const GEMMA: Family = Family {
    architecture: "gemma-embedding",
    model_type: "gemma3_text",
    decoder: false,
    names: decoder_names![
        ("blk.*.post_attention_norm", "layers.*.post_attention_layernorm"),
        ("blk.*.ffn_norm", "layers.*.pre_feedforward_layernorm"),
        ("blk.*.post_ffw_norm", "layers.*.post_feedforward_layernorm"),
        ("dense_2", "dense_2"),
        ("dense_3", "dense_3"),
    ],
    dense: &["dense_2", "dense_3"],
    own: gemma_fields,
    adapt: lower_norms,
};

const FAMILIES: &[Family] = &[BERT, NOMIC, JINA, MODERN, QWEN, GEMMA];

/// The row of an architecture. Errors: `Unsupported` listing those that can be run.
pub(super) fn named(architecture: &str) -> Result<&'static Family, ModelError> {
    FAMILIES.iter().find(|family| family.architecture == architecture).ok_or_else(|| {
        let supported: Vec<&str> = FAMILIES.iter().map(|family| family.architecture).collect();
        let shown: String = architecture.chars().take(60).flat_map(char::escape_debug).collect();
        ModelError::unsupported(format!("GGUF architecture `{shown}` cannot be run; supported: {}", supported.join(", ")))
    })
}

impl Family {
    /// A key of this architecture.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// The key that a field of the configuration comes from; the field itself where there is none.
    pub(super) fn key_of(&self, field: &str) -> String {
        FIELDS.iter().find(|(_, known)| *known == field).map_or_else(|| field.to_owned(), |(key, _)| format!("`{}`", self.key(key)))
    }

    /// What a `config.json` would say. Errors: `Corrupt` naming the key that is missing, `Unsupported` naming one whose value cannot be run.
    pub(super) fn config(&self, metadata: &Metadata<'_>) -> Result<Value, ModelError> {
        let mut fields = Map::new();
        fields.insert("model_type".into(), self.model_type.into());
        for (key, field) in FIELDS {
            fields.insert((*field).into(), metadata.size(&self.key(key))?.into());
        }
        fields.insert("vocab_size".into(), metadata.rows("token_embd.weight")?.into());
        fields.insert("max_position_embeddings".into(), metadata.size(&self.key("context_length"))?.into());
        self.check_rotation(metadata)?;
        (self.own)(self, metadata, &mut fields)?;
        Ok(Value::Object(fields))
    }

    /// Errors: `Unsupported` for a stretched rotation, or one of parts of the heads.
    fn check_rotation(&self, metadata: &Metadata<'_>) -> Result<(), ModelError> {
        let key = self.key("rope.scaling.type");
        match metadata.text(&key)? {
            None | Some("none") => Ok(()),
            Some("linear") if metadata.real(&self.key("rope.scaling.factor"))?.unwrap_or(1.0) == 1.0 => Ok(()),
            Some(other) => Err(ModelError::unsupported(format!("`{key}` is `{}`; supported: none", other.escape_debug()))),
        }
    }

    /// Puts the value of a real number at `key` under `field`.
    fn put_real(&self, metadata: &Metadata<'_>, (key, field): (&str, &str), fields: &mut Map<String, Value>) -> Result<(), ModelError> {
        fields.insert(field.into(), json!(metadata.needed_real(&self.key(key))?));
        Ok(())
    }

    /// The same for a size.
    fn put_size(&self, metadata: &Metadata<'_>, (key, field): (&str, &str), fields: &mut Map<String, Value>) -> Result<(), ModelError> {
        fields.insert(field.into(), metadata.size(&self.key(key))?.into());
        Ok(())
    }
}

const NORM_EPSILON: (&str, &str) = ("attention.layer_norm_epsilon", "layer_norm_eps");
const RMS_EPSILON: (&str, &str) = ("attention.layer_norm_rms_epsilon", "rms_norm_eps");

fn bert_fields(family: &Family, metadata: &Metadata<'_>, fields: &mut Map<String, Value>) -> Result<(), ModelError> {
    family.put_real(metadata, NORM_EPSILON, fields)?;
    // Those of RoBERTa and its kin lost the rows of the padding: their positions are counted from 0 too.
    fields.insert("max_position_embeddings".into(), metadata.rows("position_embd.weight")?.into());
    put_segments(metadata, fields);
    Ok(())
}

/// Rows of the segment embedding; 0 in files without, such as those of DistilBERT.
fn put_segments(metadata: &Metadata<'_>, fields: &mut Map<String, Value>) {
    // Where there is a single row, the file holds a vector.
    let rows = metadata.shape("token_types.weight").map_or(0, |shape| if shape.len() == 2 { shape[0] } else { 1 });
    fields.insert("type_vocab_size".into(), rows.into());
}

fn jina_fields(family: &Family, metadata: &Metadata<'_>, fields: &mut Map<String, Value>) -> Result<(), ModelError> {
    family.put_real(metadata, NORM_EPSILON, fields)?;
    put_segments(metadata, fields);
    if metadata.shape("blk.0.attn_q_norm.weight").is_some() {
        return Err(ModelError::unsupported(
            "jina-bert-v2 with normalised queries (the code model), whose activation a GGUF file does not say; it is run from safetensors",
        ));
    }
    let key = family.key("attention.max_alibi_bias");
    if metadata.real(&key)?.is_some_and(|bias| bias != 8.0) {
        return Err(ModelError::unsupported(format!("`{key}` of another value than 8")));
    }
    fields.insert("position_embedding_type".into(), "alibi".into());
    fields.insert("feed_forward_type".into(), "geglu".into());
    Ok(())
}

fn nomic_fields(family: &Family, metadata: &Metadata<'_>, fields: &mut Map<String, Value>) -> Result<(), ModelError> {
    family.put_real(metadata, NORM_EPSILON, fields)?;
    family.put_real(metadata, ("rope.freq_base", "rotary_emb_base"), fields)?;
    put_segments(metadata, fields);
    let has = |tensor: &str| metadata.shape(tensor).is_some();
    fields.insert("rotary_emb_fraction".into(), json!(1.0));
    fields.insert("activation_function".into(), "swiglu".into());
    fields.insert("qkv_proj_bias".into(), has("blk.0.attn_qkv.bias").into());
    fields.insert("mlp_fc1_bias".into(), has("blk.0.ffn_up.bias").into());
    fields.insert("mlp_fc2_bias".into(), has("blk.0.ffn_down.bias").into());
    Ok(())
}

fn modern_fields(family: &Family, metadata: &Metadata<'_>, fields: &mut Map<String, Value>) -> Result<(), ModelError> {
    family.put_real(metadata, ("attention.layer_norm_epsilon", "norm_eps"), fields)?;
    family.put_real(metadata, ("rope.freq_base", "global_rope_theta"), fields)?;
    family.put_real(metadata, ("rope.freq_base_swa", "local_rope_theta"), fields)?;
    family.put_size(metadata, ("attention.sliding_window", "local_attention"), fields)?;
    family.put_size(metadata, ("attention.sliding_window_pattern", "global_attn_every_n_layers"), fields)?;
    let has = |tensor: &str| metadata.shape(tensor).is_some();
    fields.insert("norm_bias".into(), has("output_norm.bias").into());
    fields.insert("attention_bias".into(), has("blk.0.attn_qkv.bias").into());
    fields.insert("mlp_bias".into(), has("blk.0.ffn_up.bias").into());
    Ok(())
}

fn grouped_fields(family: &Family, metadata: &Metadata<'_>, fields: &mut Map<String, Value>) -> Result<(), ModelError> {
    family.put_real(metadata, RMS_EPSILON, fields)?;
    family.put_real(metadata, ("rope.freq_base", "rope_theta"), fields)?;
    family.put_size(metadata, ("attention.head_count_kv", "num_key_value_heads"), fields)?;
    family.put_size(metadata, ("attention.key_length", "head_dim"), fields)?;
    fields.insert("attention_bias".into(), metadata.shape("blk.0.attn_q.bias").is_some().into());
    Ok(())
}

fn qwen_fields(family: &Family, metadata: &Metadata<'_>, fields: &mut Map<String, Value>) -> Result<(), ModelError> {
    grouped_fields(family, metadata, fields)
}

fn gemma_fields(family: &Family, metadata: &Metadata<'_>, fields: &mut Map<String, Value>) -> Result<(), ModelError> {
    grouped_fields(family, metadata, fields)?;
    family.put_size(metadata, ("attention.sliding_window", "sliding_window"), fields)?;
    // What files do not say is the same in all of them: both directions, the scale of the heads' size, windows in five layers of six.
    fields.insert("use_bidirectional_attention".into(), true.into());
    fields.insert("query_pre_attn_scalar".into(), metadata.size(&family.key("attention.key_length"))?.into());
    let local = metadata.real(&family.key("rope.freq_base_swa"))?.unwrap_or(10_000.0);
    fields.insert("rope_local_base_freq".into(), json!(local));
    let pattern = metadata.whole(&family.key("attention.sliding_window_pattern"))?.unwrap_or(6);
    fields.insert("sliding_window_pattern".into(), pattern.into());
    Ok(())
}

fn as_read(_: &mut Weights) -> Result<(), ModelError> {
    Ok(())
}

/// A segment embedding of a single row stands in files as a vector.
fn one_segment(weights: &mut Weights) -> Result<(), ModelError> {
    weights.change("embeddings.token_type_embeddings.weight", |rows| if rows.rank() == 1 { rows.unsqueeze(0) } else { Ok(rows) })
}

/// Files of an older converter hold the two halves of the gated layers apart.
fn join_gates(weights: &mut Weights) -> Result<(), ModelError> {
    one_segment(weights)?;
    let gates: Vec<String> = weights.names().filter(|name| name.ends_with(".mlp.gate.weight")).map(str::to_owned).collect();
    for gate in gates {
        let both = gate.replace(".mlp.gate.weight", ".mlp.gated_layers.weight");
        weights.join(&[gate, both.clone()], &both)?;
    }
    Ok(())
}

/// Files hold the scales of norms themselves, the family's own hold their distance from 1.
fn lower_norms(weights: &mut Weights) -> Result<(), ModelError> {
    let norms: Vec<String> = weights.names().filter(|name| name.ends_with("norm.weight")).map(str::to_owned).collect();
    for norm in norms {
        weights.change(&norm, |scale| scale - 1.0)?;
    }
    Ok(())
}
