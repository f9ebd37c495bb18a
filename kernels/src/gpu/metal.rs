//! Apple's devices, as candle opens them.

use crate::device::{BackendDevices, DeviceInfo};

/// The system's default Metal device; candle drives no other.
pub(crate) fn metal_devices() -> BackendDevices {
    match candle_core::Device::new_metal(0) {
        Ok(_device) => BackendDevices::Found(vec![DeviceInfo { index: 0, name: "Metal".into(), total_bytes: None, free_bytes: None }]),
        Err(error) => BackendDevices::NoneFound(error.to_string()),
    }
}
