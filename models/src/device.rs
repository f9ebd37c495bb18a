//! The device a model runs on, opened by name; never another one than was asked for.

pub use candle_core::Device;

use crate::ModelError;

/// A kind of device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceKind {
    /// The host's processors.
    #[default]
    Cpu,
    /// The CUDA device of that index.
    Cuda(usize),
    /// The Metal device.
    Metal,
}

/// Opens a device. Errors: `Device` when it is not there or this build cannot use it.
pub fn open(kind: DeviceKind) -> Result<Device, ModelError> {
    let (name, opened) = match kind {
        DeviceKind::Cpu => return Ok(Device::Cpu),
        DeviceKind::Cuda(index) => (format!("cuda:{index}"), Device::new_cuda(index)),
        DeviceKind::Metal => ("metal".to_owned(), Device::new_metal(0)),
    };
    opened.map_err(|error| ModelError::Device { device: name, reason: error.to_string() })
}
