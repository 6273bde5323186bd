"""Reloads a running sidegate over and over, and looks at its memory.

    reloads.py SOCKET PID FILE NUMBER SECONDS VARIANT…

Each variant becomes FILE in turn, twice, so that every other reload changes nothing; NUMBER reloads are spread over SECONDS.
Ends with an error as soon as one is refused, or changes something when the file did not, or nothing when it did. Prints
how long the slowest took in milliseconds, the seconds that all took, and VmRSS in KiB after a fifth of them and at the end.
"""

import json
import os
import re
import socket
import sys
import time


def main(place, pid, file, number, seconds, *variants):
    number, began = int(number), time.monotonic()
    slowest, early = 0.0, None
    for turn in range(number):
        time.sleep(max(0.0, began + turn * float(seconds) / number - time.monotonic()))
        put(variants[turn // 2 % len(variants)], file)
        since = time.monotonic()
        changes = reload(place)
        slowest = max(slowest, time.monotonic() - since)
        if turn > 0 and bool(changes) != (turn % 2 == 0):
            sys.exit(f"reload {turn}: {changes}")
        if turn == number // 5:
            early = memory(pid)
    print(round(slowest * 1000), round(time.monotonic() - began), early, memory(pid))


def put(variant, file):
    """In one step, as an operator's editor does."""
    with open(variant) as source, open(f"{file}.new", "w") as copy:
        copy.write(source.read())
    os.replace(f"{file}.new", file)


def reload(place):
    """What has changed."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(place)
        connection.sendall(b'{"verb":"reload"}\n')
        answer = json.loads(connection.makefile().readline())
    if "ok" not in answer:
        sys.exit(f"a reload was refused: {answer}")
    return answer["ok"]["changes"]


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])


main(*sys.argv[1:])
