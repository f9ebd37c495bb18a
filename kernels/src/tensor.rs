//! Tensors of the CPU device from and to slices: results that are written once from end to end are not filled with zeros before, and begin at a line of
//! the cache, so that rows whose length is a multiple of it are read and written line by line.

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, Device, Result, Shape, Storage, Tensor, WithDType, bail};

use crate::KernelError;
use crate::gemm::Input;

/// Bytes of a line.
const LINE: usize = 64;

/// A tensor of that shape of which `write` writes every number.
///
/// `write` may not read what it has not written; every operation of this crate only writes its outputs. That all bits are a number of the type is the
/// bound's word. Errors: those of `write`.
pub(crate) fn written<T: WithDType + bytemuck::Pod>(
    shape: impl Into<Shape>,
    write: impl FnOnce(&mut [T]) -> std::result::Result<(), KernelError>,
) -> Result<Tensor> {
    let shape = shape.into();
    let (len, spare) = (shape.elem_count(), LINE / size_of::<T>());
    let mut memory: Box<[MaybeUninit<T>]> = Box::new_uninit_slice(len + spare);
    let from = memory.as_ptr().align_offset(LINE).min(spare);
    memory[..from].fill(MaybeUninit::zeroed());
    memory[from + len..].fill(MaybeUninit::zeroed());
    // SAFETY: these are `len` numbers of the memory; `write` writes all of them and reads none before, as the contract of this function demands.
    let numbers = unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().add(from).cast::<T>(), len) };
    write(numbers).map_err(candle_core::Error::wrap)?;
    // SAFETY: all numbers were written.
    let memory = unsafe { memory.assume_init() }.into_vec();
    Tensor::from_vec(memory, len + spare, &Device::Cpu)?.narrow(0, from, len)?.reshape(shape)
}

/// Hands the numbers of a contiguous tensor of f32 or bf16 on the CPU to `use_them`. Errors: candle's naming the operation, for other tensors.
pub(crate) fn numbers<R>(x: &Tensor, op: &str, use_them: impl FnOnce(Input<'_>) -> Result<R>) -> Result<R> {
    let (storage, layout) = x.storage_and_layout();
    let Some((from, to)) = layout.contiguous_offsets() else { bail!("{op}: the operands must be contiguous") };
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => use_them(Input::F32(&values[from..to])),
        Storage::Cpu(CpuStorage::BF16(values)) => use_them(Input::Bf16(&values[from..to])),
        Storage::Cpu(_) => bail!("{op}: {:?} numbers, f32 and bf16 can be used", x.dtype()),
        _ => bail!("{op}: a tensor of another device"),
    }
}

/// The same of f32 alone.
pub(crate) fn singles<R>(x: &Tensor, op: &str, use_them: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    numbers(x, op, |numbers| match numbers {
        Input::F32(values) => use_them(values),
        Input::Bf16(_) => bail!("{op}: f32 numbers are expected"),
    })
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn results_begin_at_a_line_and_are_what_was_written() {
        for len in [1usize, 15, 16, 33, 4096] {
            let tensor = written((1, len), |out: &mut [bf16]| {
                out.fill(bf16::ONE);
                Ok(())
            });
            let tensor = tensor.unwrap();
            let is_aligned = numbers(&tensor, "test", |numbers| match numbers {
                Input::Bf16(values) => Ok(values.len() == len && values.as_ptr().align_offset(LINE) == 0),
                Input::F32(_) => Ok(false),
            });
            assert!(is_aligned.unwrap(), "{len}");
            assert_eq!(tensor.flatten_all().unwrap().to_vec1::<bf16>().unwrap(), vec![bf16::ONE; len]);
            assert!(singles(&tensor, "test", |_| Ok(())).is_err(), "bf16 is not f32");
            assert!(numbers(&tensor.to_dtype(candle_core::DType::F64).unwrap(), "test", |_| Ok(())).is_err());
        }
        assert!(written((1, 2), |_: &mut [f32]| Err(KernelError::Stopped)).is_err());
        let turned = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap().t().unwrap();
        assert!(numbers(&turned, "test", |_| Ok(())).is_err(), "rows that are not contiguous");
    }
}
