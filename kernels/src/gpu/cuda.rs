//! NVIDIA's devices, as the driver tells them.

use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError};

use crate::device::{BackendDevices, DeviceInfo};

/// Every device that the driver lists. One that is listed but does not open makes the whole answer `NoneFound`: its words are worth more than
/// a list that silently lacks it.
pub(crate) fn cuda_devices() -> BackendDevices {
    match listed() {
        Ok(devices) if devices.is_empty() => BackendDevices::NoneFound("the driver lists no device".into()),
        Ok(devices) => BackendDevices::Found(devices),
        Err(error) => BackendDevices::NoneFound(format!("{error:?}")),
    }
}

fn listed() -> Result<Vec<DeviceInfo>, DriverError> {
    let count = CudaContext::device_count()?;
    (0..usize::try_from(count).unwrap_or(0)).map(info).collect()
}

fn info(index: usize) -> Result<DeviceInfo, DriverError> {
    let context = CudaContext::new(index)?;
    let (free, total) = context.mem_get_info()?;
    Ok(DeviceInfo { index, name: context.name()?, total_bytes: Some(total as u64), free_bytes: Some(free as u64) })
}
