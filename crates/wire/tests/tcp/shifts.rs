//! Shifting, against a sender that had the other numbers from the beginning.

use proptest::prelude::*;
use wire::{Offload, Scaling, Shift, checksum_is_valid, parse};

use crate::model::{Said, Sent, checksum, sent};

fn shift() -> impl Strategy<Value = Shift> {
    let number = || prop_oneof![Just(0), Just(100), Just(100u32.wrapping_neg()), any::<u32>()];
    let scaling = prop_oneof![
        Just(Scaling::default()),
        (0u8..=15, 0u8..=15).prop_map(|(from, to)| Scaling { from, to })
    ];
    (number(), number(), number(), number(), scaling).prop_map(
        |(sequence, acknowledgement, timestamp, echo, window)| Shift {
            sequence,
            acknowledgement,
            timestamp,
            echo,
            window,
        },
    )
}

/// The same packet from a sender with other numbers.
fn shifted(sent: &Sent, shift: &Shift) -> Sent {
    let (is_ack, is_syn) = (sent.flags & 16 != 0, sent.flags & 2 != 0);
    let mut other = sent.clone();
    other.sequence = sent.sequence.wrapping_add(shift.sequence);
    if is_ack {
        other.acknowledgement = sent.acknowledgement.wrapping_add(shift.acknowledgement);
    }
    if !is_syn {
        let [from, to] = [shift.window.from, shift.window.to].map(|scale| 1u64 << scale.min(14));
        other.window = (u64::from(sent.window) * from / to).min(65_535) as u16;
    }
    for said in &mut other.options {
        match said {
            Said::WindowScale(scale) if is_syn && shift.window.from != shift.window.to => {
                let [from, to, own] = [shift.window.from, shift.window.to, *scale].map(|scale| scale.min(14));
                *scale = (own + to).saturating_sub(from).min(14);
            }
            Said::Sack(blocks) => {
                for edge in blocks.iter_mut().flatten() {
                    *edge = edge.wrapping_add(shift.acknowledgement);
                }
            }
            Said::Timestamps([value, echo]) => {
                *value = value.wrapping_add(shift.timestamp);
                *echo = if is_ack { echo.wrapping_add(shift.echo) } else { *echo };
            }
            _ => {}
        }
    }
    other
}

proptest! {
    #[test]
    fn a_shift_is_a_full_recomputation(sent in sent(), checksum in checksum(), shift in shift()) {
        let offload = sent.offload(checksum);
        let (bytes, packet, after) = sent.carried(offload, |frame, packet| shift.apply(frame, packet));
        prop_assert!(bytes == shifted(&sent, &shift).build(checksum));
        prop_assert_eq!(Ok(packet), parse(&bytes), "what is known is what is there");
        prop_assert_eq!(after, offload, "a super-packet stays whole");
    }

    /// What was shifted one way and back is what it was, but for bits of the window that another scale has no room for.
    #[test]
    fn a_shift_back_undoes_it(sent in sent(), checksum in checksum(), mut shift in shift()) {
        shift.window = Scaling::default();
        let back = Shift {
            sequence: shift.sequence.wrapping_neg(),
            acknowledgement: shift.acknowledgement.wrapping_neg(),
            timestamp: shift.timestamp.wrapping_neg(),
            echo: shift.echo.wrapping_neg(),
            window: shift.window,
        };
        let (bytes, ..) = sent.carried(sent.offload(checksum), |frame, packet| {
            shift.apply(frame, packet);
            back.apply(frame, packet);
        });
        prop_assert!(bytes == sent.build(checksum));
    }

    /// Whatever the options are, nothing panics, and what was right is right.
    #[test]
    fn arbitrary_options_do_no_harm(
        mut sent in sent(), raw in prop::collection::vec(any::<[u8; 4]>(), 1..=10), shift in shift(),
    ) {
        sent.options = vec![Said::Nop; raw.len() * 4];
        sent.damage = 0;
        let (bytes, packet, _) = sent.carried(Offload::NONE, |frame, packet| {
            let place = packet.transport + 20..packet.payload;
            frame.bytes[place].copy_from_slice(&raw.concat());
            let checksum = wire::transport_checksum(frame.bytes, packet);
            frame.bytes[packet.transport + 16..packet.transport + 18].copy_from_slice(&checksum.to_be_bytes());
            shift.apply(frame, packet);
            wire::retain_sack(frame, packet, |[left, _]| left % 2 == 0);
            wire::make_ordinary(frame, packet);
        });
        prop_assert_eq!(Ok(packet), parse(&bytes));
        prop_assert!(checksum_is_valid(&bytes, &packet));
    }
}

#[test]
fn a_window_is_never_told_larger_than_it_is() {
    let scaled = |from, to, field| Scaling { from, to }.apply(field);
    assert_eq!(scaled(7, 7, 501), 501);
    assert_eq!(scaled(7, 9, 503), 125, "what does not fill a unit is kept back");
    assert_eq!(scaled(9, 7, 501), 2004);
    assert_eq!(scaled(14, 0, 501), u16::MAX);
    assert_eq!(scaled(255, 14, 501), 501, "more than 14 is 14");
}
