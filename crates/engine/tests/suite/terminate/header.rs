//! The header that tells a target who its client is, ahead of the client's bytes.

use topology::{EndpointId, Topology};
use wire::{ProxyBytes, ProxyEndpoint, ProxyHeader};

use super::*;

const ON_PAYLOAD: &str = "on_first_ack_with_payload";
const ON_ACK: &str = "on_first_ack";

/// The lab's file, whose web group has these attributes besides.
fn file(attributes: &str) -> String {
    let group = "name = \"web\"\n";
    let attributes =
        format!("{group}attributes = {{ \"proxy_protocol_v2.enabled\" = true, {attributes} }}\n");
    FILE.replacen(group, &attributes, 1)
}

fn lab(placement: &str) -> Lab {
    Lab::of(&file(&format!("\"proxy_protocol_v2.client_to_server.header_placement\" = \"{placement}\"")), 1)
}

/// What a target is told of a client that comes through the lab's endpoint of this number.
fn header(lab: &Lab, endpoint: usize, [client, interface]: [&str; 2]) -> ProxyBytes {
    let topology = lab.shared.topology();
    let ids = &topology.endpoints[endpoint_of(&topology, endpoint)].ids;
    let endpoint = ProxyEndpoint::Aws(&ids.aws);
    let [source, destination] = [(addr(client), 1000), (addr(interface), 8443)];
    ProxyHeader { source, destination, endpoint }.to_bytes()
}

fn endpoint_of(topology: &Topology, number: usize) -> EndpointId {
    topology.endpoints.iter().nth(number).unwrap().0
}

impl End {
    /// The bytes that came for it, in order.
    fn read(&self, said: &Said) -> Vec<u8> {
        let to_us = said.sent.iter().filter(|(device, _)| *device == self.device);
        to_us.flat_map(|(_, bytes)| bytes[wire::parse(bytes).unwrap().payload..].to_vec()).collect()
    }
}

/// What the target reads when the consumer says something.
fn passed_on(lab: &mut Lab, talk: &mut Talk, flags: u8, payload: &[u8]) -> Vec<u8> {
    let said = talk.say(lab, Who::Near, flags, payload, Duration::ZERO);
    talk.far.read(&said)
}

/// Until the target has answered; then what it reads when the consumer acknowledges that.
fn acknowledged(lab: &mut Lab, talk: &mut Talk) -> Vec<u8> {
    let answered = talk.say(lab, Who::Far, SYN | ACK, &[], Duration::ZERO);
    assert_eq!(talk.far.read(&answered), b"", "nobody has said yet that the consumer is there");
    passed_on(lab, talk, ACK, &[])
}

#[test]
fn it_is_what_a_target_reads_first() {
    let mut plain = Lab::new(1);
    let mut talk = Talk::open(&mut plain, 0, 1000, Duration::ZERO);
    assert_eq!(passed_on(&mut plain, &mut talk, ACK, b"hello"), b"hello", "a group that is not to have one");
    for (placement, on_ack) in [(ON_PAYLOAD, false), (ON_ACK, true)] {
        let mut lab = lab(placement);
        let header = header(&lab, 0, [CLIENT, INTERFACE]);
        let (mut talk, _) = Talk::begin(&mut lab, 0, 1000, Duration::ZERO);
        let first = acknowledged(&mut lab, &mut talk);
        assert_eq!(first, if on_ack { &header[..] } else { b"" }, "{placement}");
        let then = passed_on(&mut lab, &mut talk, ACK, b"hello");
        assert_eq!([first, then].concat(), [&header, &b"hello"[..]].concat(), "{placement}");
        assert_eq!(passed_on(&mut lab, &mut talk, ACK, b"again"), b"again", "once");
    }
}

#[test]
fn a_server_that_speaks_first_is_told_with_the_consumers_answer() {
    for (placement, on_ack) in [(ON_PAYLOAD, false), (ON_ACK, true)] {
        let mut lab = lab(placement);
        let header = header(&lab, 0, [CLIENT, INTERFACE]);
        let mut talk = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
        let said = talk.say(&mut lab, Who::Far, ACK, b"220 ready", Duration::ZERO);
        assert_eq!(talk.near.read(&said), b"220 ready");
        assert_eq!(talk.far.read(&said), b"", "{placement}");
        let told = passed_on(&mut lab, &mut talk, ACK, b"EHLO");
        let ahead = if on_ack { &[][..] } else { &header };
        assert_eq!(told, [ahead, b"EHLO"].concat(), "{placement}");
    }
}

#[test]
fn a_consumer_that_closes_without_a_byte_has_none_but_on_the_first_ack() {
    for (placement, on_ack) in [(ON_PAYLOAD, false), (ON_ACK, true)] {
        let mut lab = lab(placement);
        let header = header(&lab, 0, [CLIENT, INTERFACE]);
        let (mut talk, _) = Talk::begin(&mut lab, 0, 1000, Duration::ZERO);
        talk.say(&mut lab, Who::Far, SYN | ACK, &[], Duration::ZERO);
        let said = talk.say(&mut lab, Who::Near, FIN | ACK, &[], Duration::ZERO);
        assert!(talk.far.heard(&said).last().unwrap().flags.fin(), "{placement}");
        assert_eq!(talk.far.read(&said), if on_ack { &header[..] } else { b"" }, "{placement}");
    }
}

#[test]
fn a_target_that_does_not_acknowledge_it_hears_it_again() {
    let mut lab = lab(ON_PAYLOAD);
    let header = header(&lab, 0, [CLIENT, INTERFACE]);
    let mut talk = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
    let said = talk.say(&mut lab, Who::Near, ACK, b"hello", Duration::ZERO);
    let first = talk.far.heard(&said)[0];
    let again = talk.pass(&mut lab, seconds(5));
    let heard = talk.far.heard(&again);
    let is_first = |packet: &&wire::Packet| packet.sequence == first.sequence && packet.payload_len() > 0;
    assert!(heard.iter().any(|packet| is_first(&packet)));
    assert!(talk.far.read(&again).windows(header.len()).any(|bytes| bytes == &header[..]));
}

/// What tells the two consumers apart is all that their targets can see of it.
#[test]
fn it_names_the_endpoint_in_the_groups_words() {
    let words = |tlv: &str| file(&format!("\"proxy_protocol_v2.tlv\" = \"{tlv}\""));
    for endpoint in [0, 1] {
        for tlv in ["aws", "gcp", "azure"] {
            let mut lab = Lab::of(&words(tlv), 1);
            let mut talk = Talk::open(&mut lab, endpoint, 1000, Duration::ZERO);
            let told = passed_on(&mut lab, &mut talk, ACK, b"!");
            let topology = lab.shared.topology();
            let ids = &topology.endpoints[endpoint_of(&topology, endpoint)].ids;
            let named = match tlv {
                "aws" => [&[0xea, 0, 23, 1], ids.aws.as_bytes()].concat(),
                "gcp" => [&[0xe0, 0, 8][..], &ids.gcp.to_be_bytes()].concat(),
                _ => [&[0xee, 0, 5, 1][..], &ids.azure.to_le_bytes()].concat(),
            };
            let times = told.windows(named.len()).filter(|bytes| *bytes == named).count();
            assert_eq!(times, 1, "{tlv} of {endpoint}: {told:x?}");
        }
    }
}

#[test]
fn its_addresses_are_the_consumers_also_where_the_target_is_of_the_other_family() {
    const V4: [&str; 4] = [CLIENT, INTERFACE, NODE, TARGET];
    const V6: [&str; 4] = ["fd01::2", "fd01::9:50", "fd02::9:1", "fd02::2"];
    let v4 = r#"{ address = "10.2.0.2", port = 8080 }"#;
    let v6 = r#"{ address = "fd02::2", port = 8080 }"#;
    let both = format!("{v4}, {v6}");
    for (targets, near, far, kind) in
        [(&both, V4, V4, 0x11), (&both, V6, V6, 0x21), (&v6.into(), V4, V6, 0x11), (&v4.into(), V6, V4, 0x21)]
    {
        // Which nat would not do.
        let nat = "{ protocol = \"tcp\", port = 80, forward = \"web\" },\n";
        let mut lab = Lab::of(&file("").replacen(nat, "", 1).replacen(&both, targets, 1), 1);
        let header = header(&lab, 0, [near[0], near[1]]);
        assert_eq!(header[12..14], [0x21, kind]);
        let (near, far) = ([near[0], near[1]], [far[3], far[2]]);
        let (mut talk, _) = Talk::begin_between(&mut lab, 0, (near, 1000), far, Duration::ZERO);
        acknowledged(&mut lab, &mut talk);
        let told = passed_on(&mut lab, &mut talk, ACK, b"hello");
        assert_eq!(told, [&header, &b"hello"[..]].concat(), "{near:?} to {far:?}");
    }
}
