//! What this processor can do: detected once at run time, listed, and forced to a lower level for tests and comparisons.
//!
//! A value of [`Isa`] above `Portable` can only be had where the processor has the instructions, so the value itself is the proof that
//! calling code compiled for them is sound. This file reads no environment: whoever reads a setting calls [`Isa::force`].

use std::fmt;
use std::sync::OnceLock;

/// Proof that this processor has NEON, ARM's 128-bit vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    /// The proof, if the processor has the instructions.
    #[must_use]
    pub fn new() -> Option<Self> {
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Some(Self(()));
        }
        None
    }
}

/// Proof that this processor has AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, if the processor has the instructions.
    #[must_use]
    pub fn new() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma")
            && std::arch::is_x86_feature_detected!("popcnt")
        {
            return Some(Self(()));
        }
        None
    }
}

/// Proof that this processor has AVX-512 F, BW, DQ, VL and VPOPCNTDQ beside AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

impl Avx512 {
    /// The proof, if the processor has the instructions.
    #[must_use]
    pub fn new() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if Avx2::new().is_some()
            && std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512vl")
            && std::arch::is_x86_feature_detected!("avx512dq")
            && std::arch::is_x86_feature_detected!("avx512vpopcntdq")
        {
            return Some(Self(()));
        }
        None
    }
}

/// Proof that this processor has AMX tiles with bf16 and int8 products beside AVX-512 with its bf16 and VNNI instructions, and that the system lets
/// this process use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amx(());

impl Amx {
    /// The proof, if the processor has the instructions and the system grants them. The system is asked once per process.
    #[must_use]
    pub fn new() -> Option<Self> {
        static GRANTED: OnceLock<bool> = OnceLock::new();
        GRANTED.get_or_init(amx_granted).then_some(Self(()))
    }

    /// The level below, which AMX includes.
    #[must_use]
    pub fn avx512(self) -> Avx512 {
        Avx512(())
    }
}

/// CPUID says what the processor has; Linux grants the tiles' register state per process on request, which may be refused.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn amx_granted() -> bool {
    const BF16_TILE_INT8: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    const SYSCALL_ARCH_PRCTL: u64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let has_avx512 =
        Avx512::new().is_some() && std::arch::is_x86_feature_detected!("avx512bf16") && std::arch::is_x86_feature_detected!("avx512vnni");
    if !has_avx512 || std::arch::x86_64::__cpuid_count(7, 0).edx & BF16_TILE_INT8 != BF16_TILE_INT8 {
        return false;
    }
    let status: i64;
    // SAFETY: this system call takes two numbers, touches no memory of the process and clobbers the registers that are named.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") SYSCALL_ARCH_PRCTL => status,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    status == 0
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn amx_granted() -> bool {
    false
}

/// A level of instructions that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// What every processor of the build target has.
    Portable,
    /// 128-bit lanes in pairs, with fused multiply-add.
    Neon(Neon),
    /// 256-bit lanes with fused multiply-add.
    Avx2(Avx2),
    /// 512-bit lanes with fused multiply-add.
    Avx512(Avx512),
    /// 512-bit lanes and matrix tiles.
    Amx(Amx),
}

/// Why a level could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// No level has this name.
    #[error("unknown instruction set `{name}`; allowed: portable, neon, avx2, avx512, amx")]
    Unknown {
        /// The name that was asked for.
        name: String,
    },
    /// This processor lacks the level.
    #[error("this processor has no `{name}`; available: {available}")]
    Unavailable {
        /// The name that was asked for.
        name: String,
        /// The names that can be had here.
        available: String,
    },
    /// A different level is already in use by this process.
    #[error("the instruction set is already `{active}`; it is chosen once per process")]
    AlreadyActive {
        /// The level in use.
        active: Isa,
    },
}

static ACTIVE: OnceLock<Isa> = OnceLock::new();

impl Isa {
    /// Every level this processor has, lowest first; never empty.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Self::Portable];
        levels.extend(Neon::new().map(Self::Neon));
        levels.extend(Avx2::new().map(Self::Avx2));
        levels.extend(Avx512::new().map(Self::Avx512));
        levels.extend(Amx::new().map(Self::Amx));
        levels
    }

    /// The highest level this processor has.
    #[must_use]
    pub fn best() -> Self {
        Self::available().last().copied().unwrap_or(Self::Portable)
    }

    /// The level in use by this process: the forced one, else the best. Fixed from the first call on.
    #[must_use]
    pub fn active() -> Self {
        *ACTIVE.get_or_init(Self::best)
    }

    /// Fixes the level for this process; to be called before any kernel runs.
    ///
    /// Errors: `AlreadyActive` when a different level is in use already.
    pub fn force(self) -> Result<(), IsaError> {
        let active = *ACTIVE.get_or_init(|| self);
        if active == self { Ok(()) } else { Err(IsaError::AlreadyActive { active }) }
    }

    /// The level of that name, if this processor has it. Errors: `Unknown`, `Unavailable`.
    pub fn named(name: &str) -> Result<Self, IsaError> {
        let available = Self::available();
        if let Some(level) = available.iter().find(|level| level.name() == name) {
            return Ok(*level);
        }
        if !["portable", "neon", "avx2", "avx512", "amx"].contains(&name) {
            return Err(IsaError::Unknown { name: name.to_owned() });
        }
        let names: Vec<_> = available.iter().map(|level| level.name()).collect();
        Err(IsaError::Unavailable { name: name.to_owned(), available: names.join(", ") })
    }

    /// The name: `portable`, `neon`, `avx2`, `avx512`, `amx`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon(_) => "neon",
            Self::Avx2(_) => "avx2",
            Self::Avx512(_) => "avx512",
            Self::Amx(_) => "amx",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_level_is_found_by_its_name_and_the_best_is_last() {
        let available = Isa::available();
        for level in &available {
            assert_eq!(Isa::named(level.name()), Ok(*level));
        }
        assert_eq!(available.last(), Some(&Isa::best()));
        assert_eq!(available.first(), Some(&Isa::Portable));
    }

    #[test]
    fn an_unknown_name_lists_what_is_allowed() {
        let error = Isa::named("sse9").expect_err("no such level");
        assert!(error.to_string().contains("portable, neon, avx2, avx512, amx"), "{error}");
    }

    #[test]
    fn forcing_another_level_than_the_active_one_is_refused() {
        let active = Isa::active();
        assert_eq!(active.force(), Ok(()));
        for level in Isa::available().into_iter().filter(|level| *level != active) {
            assert_eq!(level.force(), Err(IsaError::AlreadyActive { active }));
        }
    }
}
