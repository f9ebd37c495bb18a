//! From one vector per token to one per text, as sentence-transformers' `Pooling` module does it. Plain loops on host memory.

use serde::Deserialize;

use crate::ModelError;

/// One way to pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolingMode {
    /// The first token.
    Cls,
    /// The largest value of each dimension.
    Max,
    /// The mean of the tokens.
    Mean,
    /// The sum divided by the square root of the count.
    MeanSqrtLen,
    /// The mean weighted by position, 1 for the first token.
    WeightedMean,
    /// The last token.
    LastToken,
}

impl PoolingMode {
    /// In the order in which sentence-transformers joins them.
    pub const ALL: [Self; 6] = [Self::Cls, Self::Max, Self::Mean, Self::MeanSqrtLen, Self::WeightedMean, Self::LastToken];

    /// The name as sentence-transformers spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::MeanSqrtLen => "mean_sqrt_len_tokens",
            Self::WeightedMean => "weightedmean",
            Self::LastToken => "lasttoken",
        }
    }
}

/// The configuration of a `Pooling` module.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PoolingConfig {
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
    #[serde(default)]
    pooling_mode: Option<OneOrMany>,
    #[serde(default)]
    include_prompt: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// How a model pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooling {
    /// The modes; their vectors are joined in this order.
    pub modes: Vec<PoolingMode>,
    /// False when the tokens of a prompt (and the special tokens before it) take no part.
    pub include_prompt: bool,
}

impl Pooling {
    /// The mean of all tokens: what sentence-transformers assumes for a model without a `Pooling` module.
    #[must_use]
    pub fn mean() -> Self {
        Self { modes: vec![PoolingMode::Mean], include_prompt: true }
    }

    /// What a configuration asks for. Errors: `Unsupported` naming an unknown mode, or when none is chosen.
    pub fn from_config(config: &PoolingConfig) -> Result<Self, ModelError> {
        let named: Vec<String> = match &config.pooling_mode {
            Some(OneOrMany::One(name)) => vec![name.clone()],
            Some(OneOrMany::Many(names)) => names.clone(),
            None => Vec::new(),
        };
        let known = PoolingMode::ALL.map(PoolingMode::name).join(", ");
        if let Some(unknown) = named.iter().find(|name| PoolingMode::ALL.iter().all(|mode| mode.name() != *name)) {
            return Err(ModelError::unsupported(format!("pooling mode `{}`; supported: {known}", unknown.escape_debug())));
        }
        let chosen = |mode: &PoolingMode| {
            let flag = match mode {
                PoolingMode::Cls => config.pooling_mode_cls_token,
                PoolingMode::Max => config.pooling_mode_max_tokens,
                PoolingMode::Mean => config.pooling_mode_mean_tokens,
                PoolingMode::MeanSqrtLen => config.pooling_mode_mean_sqrt_len_tokens,
                PoolingMode::WeightedMean => config.pooling_mode_weightedmean_tokens,
                PoolingMode::LastToken => config.pooling_mode_lasttoken,
            };
            flag || named.iter().any(|name| name == mode.name())
        };
        let modes: Vec<PoolingMode> = PoolingMode::ALL.into_iter().filter(chosen).collect();
        if modes.is_empty() {
            return Err(ModelError::unsupported(format!("the pooling configuration chooses no mode; supported: {known}")));
        }
        Ok(Self { modes, include_prompt: config.include_prompt.unwrap_or(true) })
    }

    /// Numbers per pooled vector for token vectors of `hidden` numbers.
    #[must_use]
    pub fn width(&self, hidden: usize) -> usize {
        self.modes.len() * hidden
    }

    /// The names joined by `+`.
    #[must_use]
    pub fn name(&self) -> String {
        self.modes.iter().map(|mode| mode.name()).collect::<Vec<_>>().join("+")
    }

    /// Pools one text. `tokens` `[n, hidden]`, `out` `[width]`; the first `skip` tokens take no part (the last of them does when all would be skipped).
    ///
    /// Sums in f32 in token order. Without tokens the result is zero.
    pub fn pool(&self, tokens: &[f32], hidden: usize, skip: usize, out: &mut [f32]) {
        let count = tokens.len() / hidden.max(1);
        out.fill(0.0);
        if count == 0 {
            return;
        }
        let first = skip.min(count - 1);
        for (mode, out) in self.modes.iter().zip(out.chunks_exact_mut(hidden)) {
            pool_one(*mode, &tokens[..count * hidden], first, out);
        }
    }
}

fn pool_one(mode: PoolingMode, tokens: &[f32], first: usize, out: &mut [f32]) {
    let hidden = out.len();
    let rows = || tokens.chunks_exact(hidden).enumerate().skip(first);
    let count = (tokens.len() / hidden - first) as f32;
    match mode {
        // Also where the prompt takes no part: the first token is no word of it.
        PoolingMode::Cls => out.copy_from_slice(&tokens[..hidden]),
        PoolingMode::LastToken => out.copy_from_slice(&tokens[tokens.len() - hidden..]),
        PoolingMode::Max => {
            out.fill(f32::NEG_INFINITY);
            rows().for_each(|(_, row)| out.iter_mut().zip(row).for_each(|(o, &x)| *o = o.max(x)));
        }
        PoolingMode::Mean | PoolingMode::MeanSqrtLen => {
            rows().for_each(|(_, row)| out.iter_mut().zip(row).for_each(|(o, &x)| *o += x));
            let divisor = if mode == PoolingMode::Mean { count } else { count.sqrt() };
            out.iter_mut().for_each(|o| *o /= divisor);
        }
        PoolingMode::WeightedMean => {
            let mut total = 0.0;
            for (position, row) in rows() {
                let weight = (position + 1) as f32;
                total += weight;
                out.iter_mut().zip(row).for_each(|(o, &x)| *o += weight * x);
            }
            out.iter_mut().for_each(|o| *o /= total);
        }
    }
}

/// Scales each row of `rows` `[n, dim]` to length 1 in place, summing squares in f64. A zero row stays zero.
pub fn normalize_rows(rows: &mut [f32], dim: usize) {
    for row in rows.chunks_exact_mut(dim.max(1)) {
        let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        }
    }
}
