//! Checks that ask for a page, over HTTP and HTTPS.

use super::*;

const HTTP: &str = r#"protocol = "http", path = "/healthz?deep=1", matcher = "200-204,301""#;
const HTTPS: &str = r#"protocol = "https", host = "target.test", path = "/""#;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What two checks of a target with these manners come to.
fn found(check: &str, manner: Manner) -> Standing {
    let mut world = World::of(check, manner);
    world.pass(seconds(21));
    // Between two checks, of which one comes each five seconds and takes less.
    let quiet = (0..50).any(|_| {
        world.pass(millis(100));
        world.worker.probes() == 0
    });
    assert!(quiet);
    world.assert_clean();
    world.standing()
}

#[test]
fn the_request_is_worded_as_the_real_one_is() {
    let mut world = World::of(HTTP, Manner::replying(OK));
    world.pass(seconds(1));
    assert_eq!(world.standing(), Standing::HEALTHY);
    let asked = String::from_utf8(world.asked[0].1.clone()).unwrap();
    let lines: Vec<&str> = asked.split("\r\n").collect();
    let host = "Host: 10.2.9.1:80";
    let rest = ["User-Agent: ELB-HealthChecker/2.0", "Connection: close", "", ""];
    assert_eq!(lines[..2], ["GET /healthz?deep=1 HTTP/1.1", host]);
    assert_eq!(lines[2..], rest);
    assert!(world.flags().iter().all(|flags| flags & RST == 0), "it ends politely");
    world.assert_clean();
}

#[test]
fn the_host_can_be_told_and_is_in_brackets_for_ipv6() {
    let mut world = World::of(&format!(r#"{HTTP}, host = "shop.example""#), Manner::replying(OK));
    world.pass(seconds(1));
    assert!(String::from_utf8(world.asked[0].1.clone()).unwrap().contains("\r\nHost: shop.example\r\n"));
    let mut world = World::new(&file(&every_ten(HTTP), &["[fd02::2]:8080"]));
    world.behaves("[fd02::2]:8080", Manner::replying(OK));
    world.pass(seconds(1));
    assert!(String::from_utf8(world.asked[0].1.clone()).unwrap().contains("\r\nHost: [fd02::9:1]:80\r\n"));
}

#[test]
fn the_matcher_decides() {
    for (status, is_good) in [(200, true), (204, true), (205, false), (301, true), (302, false), (503, false)]
    {
        let reply = format!("HTTP/1.1 {status} x\r\n\r\n");
        let expected = if is_good { Standing::HEALTHY } else { unwell(Unwell::ResponseCodeMismatch) };
        assert_eq!(found(HTTP, Manner::replying(reply)), expected, "{status}");
    }
}

#[test]
fn the_head_may_come_in_pieces_but_not_too_slowly() {
    let in_pieces = |piece, pause| Manner { piece: Some(piece), pause, ..Manner::replying(OK) };
    assert_eq!(found(HTTP, in_pieces(1, TICK)), Standing::HEALTHY);
    assert_eq!(found(HTTP, in_pieces(10, millis(900))), Standing::HEALTHY);
    assert_eq!(found(HTTP, in_pieces(1, millis(200))), unwell(Unwell::Timeout));
}

#[test]
fn what_makes_no_sense_or_never_ends_is_a_failure() {
    let unwell = unwell(Unwell::FailedHealthChecks);
    assert_eq!(found(HTTP, Manner::replying("SSH-2.0-x\r\n")), unwell);
    assert_eq!(found(HTTP, Manner::replying("HTTP/1.1 200 OK\r\nSer")), unwell, "it closes in the midst");
    assert_eq!(
        found(HTTP, Manner::replying(format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(30_000)))),
        unwell
    );
    assert_eq!(
        found(HTTP, Manner { closes_first: true, ..Manner::open() }),
        unwell,
        "it closes without a word"
    );
}

#[test]
fn one_that_accepts_and_says_nothing_times_out_and_is_left_with_a_fin() {
    let mut world = World::of(HTTP, Manner::open());
    world.pass(seconds(6));
    assert!(world.flags().iter().all(|flags| flags & RST == 0));
    world.assert_clean();
    world.pass(seconds(20));
    assert_eq!(world.standing(), unwell(Unwell::Timeout));
}

#[test]
fn a_body_is_not_waited_for_and_an_endless_one_is_cut_off() {
    let mut body = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    body.extend(vec![b'x'; 40_000]);
    let mut world = World::of(HTTP, Manner::replying(body.clone()));
    world.pass(seconds(2));
    assert_eq!(world.standing(), Standing::HEALTHY);
    assert!(world.flags().iter().all(|flags| flags & RST == 0), "what is left of it is heard out");
    body.extend(vec![b'x'; 400_000]);
    let mut world = World::of(HTTP, Manner::replying(body));
    world.pass(seconds(2));
    assert_eq!(world.standing(), Standing::HEALTHY);
    assert!(world.flags().iter().any(|flags| flags & RST != 0));
    world.assert_clean();
}

#[test]
fn https_takes_any_certificate_and_names_the_host() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut world = World::of(HTTPS, Manner::replying(OK).over_tls(&[version]));
        world.pass(seconds(2));
        assert_eq!(world.standing(), Standing::HEALTHY, "{version:?}");
        let (_, asked, name) = &world.asked[0];
        assert!(asked.starts_with(b"GET / HTTP/1.1\r\nHost: target.test\r\n"));
        assert_eq!(name.as_deref(), Some("target.test"));
        assert!(world.flags().iter().all(|flags| flags & RST == 0));
        world.assert_clean();
    }
}

#[test]
fn https_without_a_name_sends_none() {
    let mut world = World::of(r#"protocol = "https""#, Manner::replying(OK).over_tls(rustls::ALL_VERSIONS));
    world.pass(seconds(2));
    assert_eq!((world.standing(), &world.asked[0].2), (Standing::HEALTHY, &None));
}

#[test]
fn https_judges_the_answer_and_what_is_no_tls() {
    let bad = Manner::replying("HTTP/1.1 500 x\r\n\r\n").over_tls(rustls::ALL_VERSIONS);
    assert_eq!(found(HTTPS, bad), unwell(Unwell::ResponseCodeMismatch));
    let plain = Manner { banner: OK.into(), ..Manner::open() };
    assert_eq!(found(HTTPS, plain), unwell(Unwell::FailedHealthChecks));
    let slow = Manner { piece: Some(1), pause: seconds(1), ..Manner::replying(OK) };
    assert_eq!(found(HTTPS, slow.over_tls(rustls::ALL_VERSIONS)), unwell(Unwell::Timeout));
    assert_eq!(found(HTTPS, Manner::open()), unwell(Unwell::Timeout), "it never answers the hello");
    let ends = Manner { ends_tls: true, piece: Some(1), ..Manner::replying(OK) };
    let ends = ends.over_tls(rustls::ALL_VERSIONS);
    assert_eq!(
        found(HTTPS, ends),
        unwell(Unwell::FailedHealthChecks),
        "there is nothing after the end of TLS"
    );
}
