//! Which device models run on: what was asked for, what there is, and one sentence that says what was chosen and why. Pure.
//!
//! A device that was asked for by name is there or it is an error: nothing falls back in silence. Only `auto` looks further, and says so.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use tallow_kernels::device::{BackendDevices, DeviceInfo, DeviceSurvey};

use super::{device_key, format_bytes};
use crate::task::{DeviceClass, TaskError};

/// A device as it is asked for: `auto`, `cpu`, `cuda`, `cuda:N`, `metal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best there is: CUDA, then Metal, then the processors.
    #[default]
    Auto,
    /// The processors.
    Cpu,
    /// The CUDA device with the most free memory.
    Cuda,
    /// The CUDA device of that number.
    CudaIndex(usize),
    /// The Metal device.
    Metal,
}

impl FromStr for DeviceChoice {
    type Err = TaskError;

    /// Reads the name in any case. Errors: `InvalidPayload` at `device`.
    fn from_str(text: &str) -> Result<Self, TaskError> {
        let lower = text.trim().to_ascii_lowercase();
        match lower.as_str() {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            "metal" => Ok(Self::Metal),
            _ => lower
                .strip_prefix("cuda:")
                .and_then(|index| index.parse::<u16>().ok())
                .map(|index| Self::CudaIndex(index.into()))
                .ok_or_else(|| {
                    let found: String = text.chars().take(40).collect();
                    TaskError::invalid("device", format!("found `{found}`; allowed are auto, cpu, cuda, cuda:N and metal"))
                }),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda => f.write_str("cuda"),
            Self::CudaIndex(index) => write!(f, "cuda:{index}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

/// The device that was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChosenDevice {
    /// Where models run.
    pub device: DeviceClass,
    /// Its free memory in bytes, for a device of its own that tells; the host's memory is the probe's to tell.
    pub free_bytes: Option<u64>,
    /// What was chosen and why, in one sentence.
    pub reason: String,
}

impl ChosenDevice {
    /// The name in listings: `cpu`, `cuda:0`, `metal`.
    #[must_use]
    pub fn name(&self) -> String {
        device_key(self.device).unwrap_or_else(|| "cpu".into())
    }
}

impl DeviceChoice {
    /// Chooses among the devices of a survey. Errors: `DeviceUnavailable` when the device that was asked for is not there, with the reason.
    pub fn choose(self, survey: &DeviceSurvey) -> Result<ChosenDevice, TaskError> {
        match self {
            Self::Auto => Ok(best(survey)),
            Self::Cpu => Ok(host("cpu, as asked for".into())),
            Self::Cuda => match most_free(&survey.cuda, "CUDA") {
                Ok(found) => Ok(cuda(found, "asked for cuda")),
                Err(why) => Err(unavailable(self, &why)),
            },
            Self::CudaIndex(index) => match &survey.cuda {
                BackendDevices::Found(devices) => match devices.iter().find(|device| device.index == index) {
                    Some(found) => Ok(cuda(found, "as asked for")),
                    None => Err(unavailable(self, &format!("there are {} CUDA devices, numbered from 0", devices.len()))),
                },
                missing => Err(unavailable(self, &missing_reason(missing, "CUDA"))),
            },
            Self::Metal => match most_free(&survey.metal, "Metal") {
                Ok(found) => Ok(metal(found, "as asked for")),
                Err(why) => Err(unavailable(self, &why)),
            },
        }
    }
}

fn best(survey: &DeviceSurvey) -> ChosenDevice {
    let no_cuda = match most_free(&survey.cuda, "CUDA") {
        Ok(found) => return cuda(found, "auto takes the CUDA device with the most free memory"),
        Err(why) => why,
    };
    match most_free(&survey.metal, "Metal") {
        Ok(found) => metal(found, "auto takes Metal where there is no CUDA device"),
        Err(no_metal) => host(format!("cpu: auto found no accelerator: {no_cuda}; {no_metal}")),
    }
}

/// The device with the most free memory, the lower number on a tie; one that does not tell counts as empty-handed.
fn most_free<'a>(devices: &'a BackendDevices, backend: &str) -> Result<&'a DeviceInfo, String> {
    match devices {
        BackendDevices::Found(found) => found
            .iter()
            .max_by_key(|device| (device.free_bytes.unwrap_or(0), std::cmp::Reverse(device.index)))
            .ok_or_else(|| format!("no {backend} device answered")),
        missing => Err(missing_reason(missing, backend)),
    }
}

fn missing_reason(devices: &BackendDevices, backend: &str) -> String {
    match devices {
        BackendDevices::NotBuilt => format!("built without {backend} (cargo feature `{}`)", backend.to_ascii_lowercase()),
        BackendDevices::NoneFound(words) => format!("no {backend} device answered: {words}"),
        BackendDevices::Found(_) => format!("no such {backend} device"),
    }
}

fn unavailable(choice: DeviceChoice, reason: &str) -> TaskError {
    TaskError::DeviceUnavailable { device: choice.to_string(), reason: format!("{reason}; cpu is always available") }
}

fn host(reason: String) -> ChosenDevice {
    ChosenDevice { device: DeviceClass::Host, free_bytes: None, reason }
}

fn cuda(info: &DeviceInfo, why: &str) -> ChosenDevice {
    let reason = format!("cuda:{} ({}{}): {why}", info.index, info.name, free_text(info));
    ChosenDevice { device: DeviceClass::Cuda(info.index), free_bytes: info.free_bytes, reason }
}

fn metal(info: &DeviceInfo, why: &str) -> ChosenDevice {
    let reason = format!("metal ({}{}): {why}", info.name, free_text(info));
    ChosenDevice { device: DeviceClass::Metal, free_bytes: info.free_bytes, reason }
}

fn free_text(info: &DeviceInfo) -> String {
    info.free_bytes.map_or_else(String::new, |bytes| format!(", {} free", format_bytes(bytes)))
}
