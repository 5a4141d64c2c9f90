//! What all parts of a run go by.

use super::notice::Listener;
use super::session::Session;
use super::signals::Signals;
use super::world::World;

/// The experiment, who may stop it, who hears of it, and the world it runs in.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) session: &'a Session,
    pub(super) signals: &'a Signals,
    pub(super) listener: &'a dyn Listener,
    pub(super) world: &'a dyn World,
}

impl Context<'_> {
    /// Whether nothing more is to be begun: the deadline has come, or somebody asked to stop.
    pub(super) fn must_end(&self) -> bool {
        self.session.deadline.has_come(self.world.clock().moment()) || self.signals.so_far() != 0
    }
}
