//! Fragments beside the road.

use wire::Frame;

use crate::contract::Output;
use crate::journey::{Journey, Trail};
use crate::verdict::Reason;

impl<O: Output> Journey<'_, O> {
    /// Carries a fragment to its end.
    pub(crate) fn fragment(
        &mut self,
        _frame: &mut Frame<'_>,
        _trail: &mut Trail,
    ) -> Result<Option<Reason>, Reason> {
        Err(Reason::FragmentRefused)
    }
}
