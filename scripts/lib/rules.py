"""The rules of TCP that a consumer and a target can see, both played by hand on either side of a terminated flow.

    rules.py CONSUMER_NAMESPACE DEVICE CONSUMER DOOR PROVIDER_NAMESPACE DEVICE NODE TARGET

CONSUMER and TARGET are addresses that no kernel answers for. Prints every rule that holds; ends with an error that names
those that do not.
"""

import random
import sys

from raw_tcp import MODULUS, Broken, End, Wire, flags_of, payload_of

DOOR_PORT, TARGET_PORT = 84, 7000
WINDOW = 60000
MODERN = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (7_000, 0)), ("NOP", None), ("WScale", 7)]


class Lab:
    """The two sides, and a new port for each connection."""

    def __init__(self, consumer, target):
        self.consumer_wire, self.target_wire = consumer, target
        self.port = random.randrange(20_000, 50_000)

    def call(self, options=()):
        """A consumer that has sent its SYN, and the target that has got ours."""
        self.port += 1
        consumer = End(self.consumer_wire, self.port, DOOR_PORT, random.randrange(MODULUS))
        consumer.send("S", options=options)
        return consumer, self.target(consumer)

    def target(self, consumer):
        """The target, once it has got a SYN for this consumer. Only one connection is ever being opened."""
        syn = self.target_wire.hear(lambda segment: flags_of(segment) == "S")
        if syn is None:
            raise Broken(f"no SYN came to the target for port {consumer.port}")
        target = End(self.target_wire, TARGET_PORT, syn.sport, random.randrange(MODULUS))
        target.heard, target.syn = (syn.seq + 1) % MODULUS, syn
        return target

    def connect(self, options=()):
        """Both ends of a connection that is open."""
        consumer, target = self.call(options)
        answer(consumer, target, options)
        return consumer, target


def answer(consumer, target, options=()):
    """The target answers, and the handshake goes to its end."""
    target.send("SA", options=options)
    target.expect("A", "the end of the target's handshake")
    consumer.expect("SA", "the SYN-ACK")
    consumer.send("A")


def passes(consumer, target, what):
    """Bytes still go both ways, exactly."""
    for sender, hearer in ((consumer, target), (target, consumer)):
        word = random.randbytes(20)
        sender.send("PA", word)
        hearer.expect_bytes(word, what)
        sender.expect_ack(what)


def syn_ack_waits_for_target(lab):
    consumer, target = lab.call(MODERN)
    consumer.expect_silence("an answer before the target's")
    answer(consumer, target, MODERN)
    passes(consumer, target, "after the handshake")


def options_are_offered_and_answered(lab):
    consumer, target = lab.call(MODERN)
    offered = dict(target.syn.options)
    missing = {"MSS", "WScale", "SAckOK", "Timestamp"} - offered.keys()
    if missing or not 536 <= offered["MSS"] <= 8460:
        raise Broken(f"our SYN offers {offered}")
    target.send("SA", options=MODERN)
    answered = dict(consumer.expect("SA", "the SYN-ACK").options)
    missing = {"MSS", "WScale", "SAckOK", "Timestamp"} - answered.keys()
    if missing or answered["Timestamp"][1] != 7_000:
        raise Broken(f"our SYN-ACK answers {answered}")


def options_that_were_not_offered_are_not_answered(lab):
    consumer, target = lab.call()
    target.send("SA")
    answered = dict(consumer.expect("SA", "the SYN-ACK").options)
    if {"WScale", "SAckOK", "Timestamp"} & answered.keys():
        raise Broken(f"our SYN-ACK answers {answered}")


def refusal_is_carried_across(lab):
    consumer, target = lab.call()
    target.send("RA", at=0)
    reset = consumer.expect("RA", "the refusal")
    if reset.ack != consumer.sent:
        raise Broken(f"the refusal acknowledges {reset.ack}, not {consumer.sent}")


def syn_that_comes_again_is_the_same(lab):
    consumer, target = lab.call()
    consumer.send("S", at=consumer.sent - 1)
    target.expect_silence("a second SYN to the target", wanted=lambda segment: segment.seq != target.syn.seq)
    answer(consumer, target)
    passes(consumer, target, "after a SYN that came twice")


def reset_at_the_next_byte_ends_both(lab):
    consumer, target = lab.connect()
    passes(consumer, target, "before the reset")
    consumer.send("R")
    reset = target.wire.hear(lambda segment: target.is_ours(segment) and "R" in flags_of(segment))
    if reset is None or reset.seq != target.heard:
        raise Broken("the target was not reset")


def reset_in_the_window_is_challenged(lab):
    consumer, target = lab.connect()
    passes(consumer, target, "before the reset")
    consumer.forget()
    consumer.send("R", at=consumer.sent + 1000)
    challenge = consumer.expect_ack("a challenge")
    if challenge.seq != consumer.heard:
        raise Broken(f"the challenge begins at {challenge.seq}, not at {consumer.heard}")
    passes(consumer, target, "after a reset in the window")


def reset_elsewhere_is_ignored(lab):
    consumer, target = lab.connect()
    for away in (1 << 30, -1000):
        consumer.send("R", at=consumer.sent + away)
    consumer.expect_silence("an answer to a reset outside of the window")
    passes(consumer, target, "after resets outside of the window")


def syn_in_a_live_connection_is_challenged(lab):
    consumer, target = lab.connect()
    passes(consumer, target, "before the SYN")
    for end in (consumer, target):
        end.forget()
    consumer.send("S", at=consumer.sent + 5000)
    consumer.expect_ack("a challenge")
    target.expect_silence("something of the SYN's")
    passes(consumer, target, "after the SYN")


def odd_flags_change_nothing(lab):
    consumer, target = lab.connect()
    for flags in ("", "SF", "FPU", "SRA"):
        consumer.send(flags, at=consumer.sent + (1 << 30))
    consumer.forget()
    passes(consumer, target, "after odd flags")


def bytes_arrive_in_order_and_once(lab):
    consumer, target = lab.connect()
    word = random.randbytes(30)
    first = consumer.sent
    for start, end in ((20, 30), (5, 15), (0, 10), (0, 30)):
        consumer.send("PA", word[start:end], at=first + start)
    consumer.sent = (first + 30) % MODULUS
    target.expect_bytes(word, "pieces that overlap, out of order")
    consumer.expect_ack("all of it")
    passes(consumer, target, "after pieces that overlap")


def keep_alive_is_answered(lab):
    consumer, target = lab.connect()
    for end in (consumer, target):
        passes(consumer, target, "before the keep-alive")
        end.forget()
        end.send("A", at=end.sent - 1)
        end.expect_ack("the answer to a keep-alive")


def closed_window_is_respected(lab):
    consumer, target = lab.connect()
    # The two wires are not ordered with each other: the byte's ACK says that the closed window has been heard.
    consumer.send("PA", b"!", window=0)
    consumer.expect_ack("a byte that closes the window")
    target.expect_bytes(b"!", "with a closed window")
    target.send("PA", bytes(500))
    target.expect_ack("bytes for a consumer whose window is closed")
    consumer.expect_silence("more than a probe", wanted=lambda segment: len(payload_of(segment)) > 1)
    consumer.send("A", window=WINDOW)
    consumer.expect_bytes(bytes(500), "once the window is open")
    passes(consumer, target, "after a closed window")


def half_closes(lab, closer, other):
    """One side closes; the other still speaks, and then closes too."""
    closer.send("FA")
    closer.expect_ack("the FIN")
    other.expect("FA", "the FIN on the other side")
    other.send("PA", b"still here")
    closer.expect_bytes(b"still here", "after the FIN")
    other.send("FA")
    closer.expect("FA", "the second FIN")
    closer.send("A")
    other.expect_ack("the second FIN")


def consumer_closes_first(lab):
    consumer, target = lab.connect()
    half_closes(lab, consumer, target)
    target.forget()
    target.send("FA", at=target.sent - 1)
    target.expect_ack("a FIN that comes again")


def target_closes_first(lab):
    consumer, target = lab.connect()
    half_closes(lab, target, consumer)
    consumer.forget()
    consumer.send("FA", at=consumer.sent - 1)
    consumer.expect_ack("a FIN that comes again")


def bytes_after_both_have_closed_go_nowhere(lab):
    consumer, target = lab.connect()
    half_closes(lab, target, consumer)
    for end in (consumer, target):
        end.forget()
    consumer.send("PA", b"too late")
    answered = consumer.wire.hear(lambda segment: consumer.is_ours(segment) and flags_of(segment) in ("A", "R", "RA"))
    if answered is None:
        raise Broken("nobody answers a consumer that speaks too late")
    target.expect_silence("what was said too late")


def closed_port_opens_anew(lab):
    consumer, target = lab.connect()
    half_closes(lab, target, consumer)
    consumer.forget()
    consumer.sent = (consumer.sent + 100_000) % MODULUS
    consumer.send("S")
    target = lab.target(consumer)
    answer(consumer, target)
    passes(consumer, target, "on a port that was closed")


RULES = [
    syn_ack_waits_for_target,
    options_are_offered_and_answered,
    options_that_were_not_offered_are_not_answered,
    refusal_is_carried_across,
    syn_that_comes_again_is_the_same,
    reset_at_the_next_byte_ends_both,
    reset_in_the_window_is_challenged,
    reset_elsewhere_is_ignored,
    syn_in_a_live_connection_is_challenged,
    odd_flags_change_nothing,
    bytes_arrive_in_order_and_once,
    keep_alive_is_answered,
    closed_window_is_respected,
    consumer_closes_first,
    target_closes_first,
    bytes_after_both_have_closed_go_nowhere,
    closed_port_opens_anew,
]


def main(consumers, consumer_device, consumer, door, provider, provider_device, node, target):
    broken = []
    for rule in RULES:
        lab = Lab(Wire(consumers, consumer_device, consumer, door), Wire(provider, provider_device, target, node))
        name = rule.__name__.replace("_", " ")
        try:
            rule(lab)
            print(name, flush=True)
        except Broken as why:
            broken.append(f"{name}: {why}")
    if broken:
        sys.exit("; ".join(broken))


main(*sys.argv[1:])
