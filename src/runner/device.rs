//! What an experiment's trials run on.

use std::path::PathBuf;

use super::notice::{Listener, Notice};
use crate::device::Device;
use crate::experiment::settings::DeviceChoice;
use crate::experiment::{Experiment, Problems};
use crate::train::device::{self, Found};

/// The device that the experiment's trials run on; `kept` is the one that they ran on before. A GPU that is there and cannot be
/// used is told.
///
/// # Errors
/// One that this program on this machine does not have, at the place that names it.
pub fn usable_device(experiment: &Experiment, kept: Option<Device>, listener: &dyn Listener) -> Result<Found, Problems> {
    let run = &experiment.base.run;
    let found = device::find(run.device, kept, run.engine, cuda_libraries(experiment).as_deref()).map_err(|mut error| {
        if let (DeviceChoice::Auto, Some(kept)) = (run.device, kept) {
            let help = error.help_text().map_or_else(String::new, |help| format!("{help}; "));
            error = error.help(format!(
                "{help}this experiment was run on `{kept}`: `--device cpu` would train all of it anew on the processor"
            ));
        }
        experiment.problem_with("run.device", &error)
    })?;
    if let Some(notice) = &found.notice {
        listener.notice(&Notice::Device(notice));
    }
    Ok(found)
}

/// The folder in which NVIDIA's libraries are looked for first, absolute.
pub(super) fn cuda_libraries(experiment: &Experiment) -> Option<PathBuf> {
    let folder = experiment.folder.join(experiment.base.run.cuda_libraries.as_deref()?);
    Some(std::path::absolute(&folder).unwrap_or(folder))
}
