"""Readers that do not read: how much their senders get rid of, and what that costs sidegate.

    streams_stall.py NUMBER BYTES HOST PORT PID

Half of the streams stall at the server, half here. When nothing moves any more, prints what each sender has got rid of
and by how much the process PID has grown, in KiB: `SENT GROWTH`. Then everybody reads. Ends with an error if a byte is
missing or wrong.
"""

import random
import re
import sys
import threading
import time

import streams

QUIET = 1.0


def main(number, size, host, port, pid):
    number, size, port = int(number), int(size), int(port)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    before = memory(pid)
    names = [f"{seed}-{place}" for place in range(number)]
    ends = [
        streams.call(host, port, name, "second" if place % 2 else "first", seed + 2 * place, size, place % 2 == 0)
        for place, name in enumerate(names)
    ]
    for place, end in enumerate(ends):
        end.paused = place % 2 == 1
    results = [None] * number

    def run(place):
        results[place] = ends[place].run()

    threads = [threading.Thread(target=run, args=[place]) for place in range(number)]
    for thread in threads:
        thread.start()

    def sent():
        return [
            streams.ask(host, port, progress=names[place])["sent"] if place % 2 else end.sent
            for place, end in enumerate(ends)
        ]

    held = await_quiet(sent)
    if max(held) == size:
        sys.exit(f"nobody was held back: {held}")
    print(max(held) >> 10, (memory(pid) - before) >> 10, flush=True)
    for place, end in enumerate(ends):
        end.paused = False
        if place % 2 == 0:
            streams.ask(host, port, read=names[place])
    for thread in threads:
        thread.join()
    results += [streams.ask(host, port, result=name) for name in names]
    wrong = [each for each in results if each["how"] != "closed" or each["bytes"] != "right" or each["received"] != size]
    if wrong:
        sys.exit(f"{len(wrong)} of {len(results)} ends: {wrong[0]}")


def await_quiet(look):
    """What `look` sees once it has not changed for a while."""
    seen, since = look(), time.monotonic()
    while time.monotonic() < since + QUIET:
        time.sleep(0.1)
        now = look()
        if now != seen:
            seen, since = now, time.monotonic()
    return seen


def memory(pid):
    """The bytes of memory that a process holds, its share of what it shares."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return int(re.search(r"^Pss: +(\d+) kB", file.read(), re.MULTILINE)[1]) << 10


main(*sys.argv[1:])
