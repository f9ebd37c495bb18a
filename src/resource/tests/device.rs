//! The device choice on made-up surveys, and the one of this build.

use tallow_kernels::device::{BackendDevices, DeviceInfo, DeviceSurvey};

use crate::resource::{ChosenDevice, DeviceChoice};
use crate::task::{DeviceClass, TaskError};

fn gpu(index: usize, free_gib: u64) -> DeviceInfo {
    DeviceInfo { index, name: format!("GPU {index}"), total_bytes: Some(80 << 30), free_bytes: Some(free_gib << 30) }
}

fn survey(cuda: &[DeviceInfo], metal: BackendDevices) -> DeviceSurvey {
    let cuda =
        if cuda.is_empty() { BackendDevices::NoneFound("the driver is asleep".into()) } else { BackendDevices::Found(cuda.to_vec()) };
    DeviceSurvey { cuda, metal }
}

const CPU_BUILD: DeviceSurvey = DeviceSurvey { cuda: BackendDevices::NotBuilt, metal: BackendDevices::NotBuilt };

fn choose(name: &str, survey: &DeviceSurvey) -> Result<ChosenDevice, TaskError> {
    name.parse::<DeviceChoice>().unwrap().choose(survey)
}

#[test]
fn names_read_back_and_others_are_refused() {
    for name in ["auto", "cpu", "cuda", "cuda:0", "cuda:15", "metal"] {
        assert_eq!(name.parse::<DeviceChoice>().unwrap().to_string(), name);
        assert!(name.to_ascii_uppercase().parse::<DeviceChoice>().is_ok());
    }
    for name in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:99999999", "cpu:0", "metal:0", &"x".repeat(1000)] {
        let error = name.parse::<DeviceChoice>().unwrap_err();
        assert!(matches!(error, TaskError::InvalidPayload { ref field, .. } if field == "device"), "{error}");
        assert!(error.to_string().len() < 200);
    }
}

#[test]
fn auto_takes_the_freest_cuda_device_then_metal_then_the_processors() {
    let both = BackendDevices::Found(vec![DeviceInfo { index: 0, name: "M".into(), total_bytes: None, free_bytes: None }]);
    let chosen = choose("auto", &survey(&[gpu(0, 10), gpu(1, 70), gpu(2, 70)], both.clone())).unwrap();
    assert_eq!((chosen.device, chosen.free_bytes, chosen.name().as_str()), (DeviceClass::Cuda(1), Some(70 << 30), "cuda:1"));
    assert!(chosen.reason.starts_with("cuda:1 (GPU 1, 70.0 GiB free): auto"), "{}", chosen.reason);
    assert_eq!(choose("auto", &survey(&[], both)).unwrap().device, DeviceClass::Metal);
    let chosen = choose("auto", &survey(&[], BackendDevices::NotBuilt)).unwrap();
    assert_eq!((chosen.device, chosen.name().as_str()), (DeviceClass::Host, "cpu"));
    assert!(chosen.reason.contains("the driver is asleep") && chosen.reason.contains("built without Metal"), "{}", chosen.reason);
}

#[test]
fn a_device_asked_for_by_name_is_there_or_an_error() {
    let two = survey(&[gpu(0, 10), gpu(1, 70)], BackendDevices::NotBuilt);
    assert_eq!(choose("cuda", &two).unwrap().device, DeviceClass::Cuda(1));
    assert_eq!(choose("cuda:0", &two).unwrap().device, DeviceClass::Cuda(0));
    assert_eq!(choose("cpu", &two).unwrap().device, DeviceClass::Host);
    let cases = [
        ("cuda:2", &two, "there are 2 CUDA devices"),
        ("metal", &two, "built without Metal (cargo feature `metal`)"),
        ("cuda", &CPU_BUILD, "built without CUDA (cargo feature `cuda`)"),
        ("cuda:0", &CPU_BUILD, "built without CUDA"),
        ("cuda", &survey(&[], BackendDevices::NotBuilt), "the driver is asleep"),
    ];
    for (name, there_is, says) in cases {
        let error = choose(name, there_is).unwrap_err();
        assert!(
            matches!(error, TaskError::DeviceUnavailable { ref device, ref reason } if device == name && reason.contains(says)),
            "{error}"
        );
    }
}

#[test]
fn this_build_answers_for_itself() {
    let survey = DeviceSurvey::take();
    assert_eq!(survey.cuda == BackendDevices::NotBuilt, !cfg!(feature = "cuda"));
    assert_eq!(survey.metal == BackendDevices::NotBuilt, !cfg!(feature = "metal"));
    assert!(DeviceChoice::Auto.choose(&survey).is_ok());
    assert_eq!(DeviceChoice::Cuda.choose(&survey).is_ok(), matches!(survey.cuda, BackendDevices::Found(_)));
}
