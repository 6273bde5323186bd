"""Sends hand-made hostile packets to one of sidegate's devices, and compares how each kind is counted.

    crafted.py consumer|provider NAMESPACE DEVICE SOURCE DESTINATION STATUS…

SOURCE is an address in the namespace; DESTINATION one of sidegate's on the device: an interface's on the consumer's side
(with listeners on TCP 80 and UDP 7), a node's on the provider's (where nothing is let in). STATUS is the command that
prints the counters as JSON. Prints a line for each kind; ends with an error if one was not counted as it should be.
"""

import json
import subprocess
import sys
import time
from collections import Counter

from scapy.compat import raw

from inject import Injector
from kinds import KindsV4, KindsV6

PATIENCE = 3.0
# Never the end of a packet of the ordinary traffic that goes on meanwhile.
NEVER = {"malformed", "bad_checksum"}
# What may be dropped beside packets that are let in: what the target says of them over ICMP, and fragments from before.
BESIDES = {"icmp_kind", "fragment_timed_out"}


def main(side, namespace, device, source, destination, *status):
    injector = Injector(namespace, device)
    family = KindsV6 if ":" in source else KindsV4
    drops = {verdict["reason"] for verdict in verdicts(status) if verdict["outcome"] == "dropped"}
    sent, wrong = 0, []
    for name, reasons, packets in family(source, destination, side == "consumer").all():
        packets = [raw(packet) for packet in packets]
        before = counters(status)
        for packet in packets:
            injector.send(packet)
        rise = await_rise(status, before, reasons, len(packets))
        report = f"{name}: {len(packets)} sent; counted: {dict(rise)}"
        print(report, flush=True)
        sent += len(packets)
        too_few = sum(rise[reason] for reason in reasons) < len(packets)
        # Ordinary traffic is let in as well, so that a rise says little: it counts that nothing was dropped.
        never = NEVER - {*reasons} if drops & {*reasons} else drops - BESIDES
        if too_few or any(rise[reason] for reason in never):
            wrong.append(f"{report}; wanted: {' or '.join(reasons)}")
    if wrong:
        sys.exit("; ".join(wrong))
    print(sent)


def verdicts(status):
    return json.loads(subprocess.run(status, check=True, capture_output=True).stdout)["verdicts"]


def counters(status):
    return Counter({verdict["reason"]: verdict["count"] for verdict in verdicts(status)})


def await_rise(status, before, reasons, wanted):
    """How the counters have risen, once those of `reasons` have by as much as is wanted, or patience ends."""
    deadline = time.monotonic() + PATIENCE
    while True:
        rise = counters(status) - before
        if sum(rise[reason] for reason in reasons) >= wanted or time.monotonic() > deadline:
            return rise
        time.sleep(0.02)


main(*sys.argv[1:])
