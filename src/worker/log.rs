//! The log of a worker.

use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::{Error, Result};
use crate::runs::TrialFolder;

/// The log as JSON lines in the trial's folder; warnings also as short lines for the runner.
pub(super) fn start(folder: &TrialFolder) -> Result<()> {
    let path = folder.log();
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(|e| Error::io("open", &path, e))?;
    let whole =
        tracing_subscriber::fmt::layer().json().with_writer(file).with_filter(tracing_subscriber::filter::LevelFilter::INFO);
    let short = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_filter(tracing_subscriber::filter::LevelFilter::WARN);
    tracing_subscriber::registry().with(whole).with(short).init();
    Ok(())
}
