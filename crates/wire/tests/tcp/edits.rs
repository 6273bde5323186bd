//! What is taken out of a packet, against a sender that never put it in.

use proptest::prelude::*;
use wire::{SynOptions, lower_window, make_ordinary, parse, retain_sack, timestamps_of, window_of};

use crate::model::{Said, Sent, checksum, sent};

/// The same packet with some options in the place of each.
fn with_options(sent: &Sent, replace: impl FnMut(&Said) -> Vec<Said>) -> Sent {
    Sent { options: sent.options.iter().flat_map(replace).collect(), ..sent.clone() }
}

/// What a SACK option is to become if only such blocks stay.
fn retained(said: &Said, keep: impl Fn(&[u32; 2]) -> bool) -> Vec<Said> {
    let Said::Sack(blocks) = said else { return vec![said.clone()] };
    let kept: Vec<_> = blocks.iter().filter(|block| keep(block)).copied().collect();
    if kept.is_empty() {
        return said.blanked();
    }
    let nops = vec![Said::Nop; (blocks.len() - kept.len()) * 8];
    [vec![Said::Sack(kept)], nops].concat()
}

proptest! {
    #[test]
    fn what_is_left_of_sack_is_a_full_recomputation(
        sent in sent(), checksum in checksum(), from: u32, span in prop_oneof![Just(0), Just(u32::MAX), any::<u32>()],
    ) {
        let keep = |[left, _]: &[u32; 2]| left.wrapping_sub(from) >= span;
        let offload = sent.offload(checksum);
        let (bytes, packet, after) =
            sent.carried(offload, |frame, packet| retain_sack(frame, packet, |block| keep(&block)));
        prop_assert!(bytes == with_options(&sent, |said| retained(said, keep)).build(checksum));
        prop_assert_eq!((Ok(packet), after), (parse(&bytes), offload));
    }

    #[test]
    fn a_lower_window_is_a_full_recomputation(sent in sent(), checksum in checksum(), by: u16) {
        let offload = sent.offload(checksum);
        let (bytes, packet, _) = sent.carried(offload, |frame, packet| lower_window(frame, packet, by));
        let lower = Sent { window: sent.window.saturating_sub(by), ..sent };
        prop_assert!(bytes == lower.build(checksum));
        prop_assert_eq!(window_of(&bytes, &packet), lower.window);
    }

    #[test]
    fn an_ordinary_syn_is_a_full_recomputation(sent in sent(), checksum in checksum()) {
        let (bytes, packet, offload) = sent.carried(sent.offload(checksum), make_ordinary);
        let mut ordinary = with_options(&sent, |said| match said {
            Said::FastOpen(_) | Said::OldFastOpen(_) | Said::Multipath(_) => said.blanked(),
            _ => vec![said.clone()],
        });
        ordinary.payload.clear();
        ordinary.accurate = false;
        prop_assert!(bytes == ordinary.build(checksum));
        prop_assert_eq!((Ok(packet), offload), (parse(&bytes), ordinary.offload(checksum)));
    }

    #[test]
    fn what_a_syn_says_is_read(sent in sent(), checksum in checksum()) {
        let bytes = sent.build(checksum);
        let packet = parse(&bytes).unwrap();
        let mut expected = SynOptions::default();
        for said in &sent.options {
            match said {
                Said::Mss(mss) => expected.mss = Some(*mss).filter(|mss| *mss > 0),
                Said::WindowScale(scale) => expected.window_scale = Some(14.min(*scale)),
                Said::SackPermitted => expected.sack_permitted = true,
                Said::Timestamps(stamps) => expected.timestamps = Some(*stamps),
                _ => {}
            }
        }
        prop_assert_eq!(SynOptions::read(&bytes, &packet), expected);
        let first = sent.options.iter().find_map(|said| match said {
            Said::Timestamps(stamps) => Some(*stamps),
            _ => None,
        });
        prop_assert_eq!(timestamps_of(&bytes, &packet), first);
    }
}
