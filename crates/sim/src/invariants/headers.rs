//! What must hold of headers, by which targets are told who their clients are: each is right, and comes when it is to come.

use super::{Invariant, Violation};
use crate::plan::Plan;
use crate::proxy::{Announcement, Header, Ids};
use crate::shop::Shop;
use crate::stream::ConnectionId;

impl Violation {
    /// What is no header, where there should be one.
    pub fn wrong_header(why: String) -> Self {
        Self::new(Invariant::HeaderRight, why)
    }
}

/// 18. A header says who the client is, where it has connected to, and through which endpoint; all of one of these plans.
pub fn header_is_right<'a>(
    header: &Header,
    shop: Shop,
    mut plans: impl Iterator<Item = &'a Plan>,
) -> Result<(), Violation> {
    let is_about = |plan: &Plan| {
        let words = shop.header.map(|header| header.words);
        let announced = words.map(|words| Announcement {
            client: plan.route.source,
            interface: plan.route.destination,
            endpoint: Ids::of(plan.consumer).named(words),
        });
        announced.map(Header::Client).as_ref() == Some(header)
    };
    if plans.any(is_about) {
        return Ok(());
    }
    Err(Violation::wrong_header(format!("a connection is announced as {header:?}, which it is not")))
}

/// 18, of when: it comes with the client's first bytes, or before anything else, as the target has been promised.
pub fn header_is_due(is_not: bool) -> Result<(), Violation> {
    let why = "a header comes before its client has spoken, or it is missing when he has";
    if is_not { Err(Violation::wrong_header(why.into())) } else { Ok(()) }
}

/// 2, of what is said before the stream begins.
pub fn greeting_is_right(connection: ConnectionId, heard: &[u8], expected: &[u8]) -> Result<(), Violation> {
    if heard == expected {
        return Ok(());
    }
    let message = format!("{connection:?} is greeted with {heard:02x?}");
    Err(Violation::new(Invariant::BytesInOrder, message))
}
