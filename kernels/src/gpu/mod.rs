//! The accelerators' side: what exists and how much memory is free. With `*/tensor.rs` the only place here that speaks to candle or cudarc.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "metal")]
mod metal;

use crate::device::BackendDevices;

#[cfg(feature = "cuda")]
pub(crate) use cuda::cuda_devices;
#[cfg(feature = "metal")]
pub(crate) use metal::metal_devices;

#[cfg(not(feature = "cuda"))]
pub(crate) fn cuda_devices() -> BackendDevices {
    BackendDevices::NotBuilt
}

#[cfg(not(feature = "metal"))]
pub(crate) fn metal_devices() -> BackendDevices {
    BackendDevices::NotBuilt
}
