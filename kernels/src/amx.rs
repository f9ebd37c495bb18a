//! The tile registers of AMX: who uses them configures them first and leaves them as they were.
//!
//! Tile registers belong to a thread, and other libraries in the process (candle's quantised products among them) configure them as well and remember
//! that they did. So every use is bracketed by a [`Tiles`] value, which puts the configuration back that was there.

use std::arch::asm;
use std::marker::PhantomData;

use crate::isa::Amx;

/// Rows of a full tile.
pub(crate) const TILE_ROWS: usize = 16;
/// Bytes of a full tile's row.
const TILE_ROW_BYTES: usize = 64;
const TILE_COUNT: usize = 8;

/// The operand of `ldtilecfg`.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

const NONE: TileConfig = TileConfig { palette: 0, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };

const FULL: TileConfig = {
    let mut config = TileConfig { palette: 1, ..NONE };
    let mut tile = 0;
    while tile < TILE_COUNT {
        config.row_bytes[tile] = TILE_ROW_BYTES as u16;
        config.rows[tile] = TILE_ROWS as u8;
        tile += 1;
    }
    config
};

/// While it lives, all eight tiles of this thread are full ones of 16 rows of 64 bytes. What the tiles held before is lost, their shapes come back.
pub(crate) struct Tiles {
    before: TileConfig,
    /// The registers are this thread's.
    _not_send: PhantomData<*const ()>,
}

impl Tiles {
    pub(crate) fn configure(_proof: Amx) -> Self {
        let mut before = NONE;
        // SAFETY: the proof says that the processor has the instructions and the system grants the registers; both operands are 64 bytes.
        unsafe {
            asm!("sttilecfg [{}]", in(reg) &raw mut before, options(nostack, preserves_flags));
            load(&FULL);
        }
        Self { before, _not_send: PhantomData }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: this value was made with the proof, on this thread.
        unsafe {
            if self.before.palette == 0 {
                asm!("tilerelease", options(nostack, preserves_flags, nomem));
            } else {
                load(&self.before);
            }
        }
    }
}

/// # Safety
/// The processor has AMX and the system grants it.
unsafe fn load(config: &TileConfig) {
    // SAFETY: the caller's promise; the operand is a valid configuration of 64 bytes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) std::ptr::from_ref(config), options(nostack, preserves_flags, readonly)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> (u8, [u8; 16]) {
        let mut config = NONE;
        // SAFETY: only called behind the proof.
        unsafe { asm!("sttilecfg [{}]", in(reg) &raw mut config, options(nostack, preserves_flags)) };
        (config.palette, config.rows)
    }

    #[test]
    fn a_foreign_configuration_is_there_again_afterwards() {
        let Some(proof) = Amx::new() else {
            println!("this processor has no AMX, so there is nothing to keep");
            return;
        };
        drop(Tiles::configure(proof));
        assert_eq!(stored().0, 0, "nothing was configured, nothing is");
        let mut foreign = FULL;
        foreign.rows[3] = 5;
        // SAFETY: behind the proof.
        unsafe { load(&foreign) };
        drop(Tiles::configure(proof));
        assert_eq!(stored(), (1, foreign.rows));
        // SAFETY: behind the proof.
        unsafe { load(&FULL) };
    }
}
