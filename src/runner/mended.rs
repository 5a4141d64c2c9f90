//! Finished trials whose files were overwritten.

use super::context::Context;
use super::notice::Notice;
use crate::error::Result;
use crate::plan::Trial;
use crate::runs::{State, is_held, overwritten, set_aside_outcome, state_of};

/// How a trial stands, where it is open again if its files are not those that it ended with: a worker that had lost it long before came
/// back to itself and went on writing.
pub(super) fn mended(context: Context<'_>, trial: &Trial, state: State) -> Result<State> {
    let Context { session, listener, .. } = context;
    let folder = session.folder.trial(&trial.id);
    let files = state.outcome.as_ref().map_or(Vec::new(), |outcome| overwritten(&folder, &outcome.files));
    // Whoever holds it is about to write another outcome.
    if files.is_empty() || is_held(&folder.lock())? {
        return Ok(state);
    }
    listener.notice(&Notice::Overwritten { label: session.label(trial), files: &files });
    set_aside_outcome(&folder)?;
    Ok(state_of(&folder))
}
