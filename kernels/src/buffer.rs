//! Memory for results that are written once from end to end: it is not filled with zeros before.

use std::mem::MaybeUninit;

/// A vector of `len` numbers of which `write` writes every one. Errors: those of `write`.
///
/// `write` may not read what it has not written; every operation of this crate only writes its outputs. That all bits are a number of the type is the
/// bound's word.
pub(crate) fn written<T: bytemuck::Pod, E>(len: usize, write: impl FnOnce(&mut [T]) -> Result<(), E>) -> Result<Vec<T>, E> {
    let mut memory: Box<[MaybeUninit<T>]> = Box::new_uninit_slice(len);
    // SAFETY: the memory is `len` numbers; `write` writes all of them and reads none before, as the contract of this function demands.
    write(unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast::<T>(), len) })?;
    // SAFETY: all numbers were written.
    Ok(unsafe { memory.assume_init() }.into_vec())
}
