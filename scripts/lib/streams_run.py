"""Runs byte streams to the server, all at once, and judges both ends of each.

    streams_run.py ROLE|any NUMBER BYTES HOST PORT

ROLE is the client's (see streams.py), `any` a random one for each stream. BYTES go each way. Ends with an error that
names every stream whose bytes or whose end is not as it should be; prints the sum of what arrived.
"""

import random
import sys
import threading

import streams


def main(role, number, size, host, port):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    dice = random.Random(seed)
    roles = [dice.choice(list(streams.ROLES)) if role == "any" else role for _ in range(int(number))]
    outcomes = [None] * len(roles)

    def run(place):
        outcomes[place] = outcome(f"{seed}-{place}", roles[place], seed + 2 * place, int(size), host, int(port))

    threads = [threading.Thread(target=run, args=[place]) for place in range(len(roles))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wrong = [f"stream {place} ({roles[place]}): {each}" for place, each in enumerate(outcomes) if not is_right(each)]
    if wrong:
        sys.exit("; ".join(wrong))
    print(sum(result["received"] for each in outcomes for result in each) // 1_000_000)


def outcome(name, role, seed, size, host, port):
    """What the two ends of one stream say, or why there is none."""
    try:
        own = streams.call(host, port, name, role, seed, size).run()
        print(own, flush=True)
        return own, streams.ask(host, port, result=name)
    except (OSError, KeyError) as error:
        return repr(error)


def is_right(each):
    """Whether all bytes came and both ends closed; or one aborted, the other saw a reset, and what had come was right."""
    if not isinstance(each, tuple) or any(result["bytes"] != "right" for result in each):
        return False
    hows = {result["how"] for result in each}
    own, other = each
    return hows == {"aborts", "reset"} or (
        hows == {"closed"} and own["received"] == other["sent"] and other["received"] == own["sent"]
    )


main(*sys.argv[1:])
