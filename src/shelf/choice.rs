//! Which loaded models make room: pure, values in, values out.

/// A loaded model as the choice sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Bytes that come back when it goes.
    pub bytes: u64,
    /// True while a task uses it; it then never goes.
    pub pinned: bool,
    /// Larger is more recent.
    pub last_use: u64,
}

/// The indices of the candidates to evict so that at least `needed_bytes` come back: least recently used first (ties to the lower index), no
/// more than needed. `None` when all that may go are not enough; then nothing should go.
#[must_use]
pub fn choose_evictions(candidates: &[Candidate], needed_bytes: u64) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = (0..candidates.len()).filter(|&index| !candidates[index].pinned).collect();
    order.sort_by_key(|&index| (candidates[index].last_use, index));
    let mut freed = 0u64;
    let mut chosen = Vec::new();
    for index in order {
        if freed >= needed_bytes {
            break;
        }
        freed = freed.saturating_add(candidates[index].bytes);
        chosen.push(index);
    }
    // A large late choice can make early small ones needless: they stay.
    let mut spare = freed.checked_sub(needed_bytes)?;
    chosen.retain(|&index| {
        let needless = candidates[index].bytes <= spare && candidates[index].bytes > 0;
        if needless {
            spare -= candidates[index].bytes;
        }
        !needless
    });
    Some(chosen)
}
