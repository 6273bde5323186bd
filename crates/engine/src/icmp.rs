//! ICMP beside the road.

use wire::Frame;

use crate::contract::Output;
use crate::journey::{Journey, Trail};
use crate::verdict::Reason;

impl<O: Output> Journey<'_, O> {
    /// Carries an ICMP packet to its end.
    pub(crate) fn icmp(
        &mut self,
        _frame: &mut Frame<'_>,
        _trail: &mut Trail,
    ) -> Result<Option<Reason>, Reason> {
        Err(Reason::IcmpKind)
    }
}
