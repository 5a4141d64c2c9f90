//! What a run tells, in words.

use super::words::{bytes, duration, plural};
use crate::runner::notice::Notice;
use crate::runner::probe::Memory;

/// The lines for a notice.
pub(crate) fn notice(notice: &Notice) -> String {
    match notice {
        Notice::NotProbed(error) => format!("probe       {}", error.chain()),
        Notice::Probing { done, all } => format!("probing     {done} of {all} shapes"),
        Notice::Probed { shapes, seconds, largest } => {
            let memory = memory(*largest).map_or_else(String::new, |memory| format!("; a trial takes at most {memory}"));
            format!("probed      {shapes} shape{} in {}{memory}", plural(*shapes as u64), duration(*seconds))
        }
    }
}

/// `3.10 GB of the GPU, 400 MB of the host`; `None` where no GPU is used.
fn memory(largest: Memory) -> Option<String> {
    let device = largest.device?;
    Some(format!("{} of the GPU, {} of the host", bytes(device), bytes(largest.host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_gpu_is_said_beside_the_hosts() {
        let host = Memory { host: 400_000_000, device: None };
        assert_eq!(memory(host), None, "on the processor there is nothing beside it");
        let both = Memory { device: Some(3_100_000_000), ..host };
        assert_eq!(memory(both).unwrap(), "3.10 GB of the GPU, 400 MB of the host");
    }
}
