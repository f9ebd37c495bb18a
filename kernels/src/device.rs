//! Which accelerators this build can drive and which of them answer. Words only; the questions are asked in `gpu`.

/// Accelerator backends this build can drive, by name: `cuda`, `metal`. Asks no driver.
#[must_use]
pub fn built_backends() -> Vec<&'static str> {
    let known = [("cuda", cfg!(feature = "cuda")), ("metal", cfg!(feature = "metal"))];
    known.into_iter().filter(|(_, built)| *built).map(|(name, _)| name).collect()
}

/// What one accelerator is called and how much memory it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number among the backend's devices, from 0.
    pub index: usize,
    /// The maker's name.
    pub name: String,
    /// Memory in bytes, where the backend tells.
    pub total_bytes: Option<u64>,
    /// Free memory in bytes, where the backend tells.
    pub free_bytes: Option<u64>,
}

/// What there is of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendDevices {
    /// This build cannot drive it.
    NotBuilt,
    /// This build can, but nothing answered; the backend's words.
    NoneFound(String),
    /// Devices that answered, by index; at least one.
    Found(Vec<DeviceInfo>),
}

/// What there is of every backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSurvey {
    /// NVIDIA devices.
    pub cuda: BackendDevices,
    /// Apple devices.
    pub metal: BackendDevices,
}

impl DeviceSurvey {
    /// Asks every backend of this build. Blocks; the first question may start a driver (up to seconds). Never panics.
    #[must_use]
    pub fn take() -> Self {
        Self { cuda: crate::gpu::cuda_devices(), metal: crate::gpu::metal_devices() }
    }
}
