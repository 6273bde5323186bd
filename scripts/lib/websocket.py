"""A WebSocket echo, and a client that talks to it.

    websocket.py serve PORT
    websocket.py converse URL
"""

import asyncio
import random
import sys

import websockets

# Around the sizes at which a frame's header changes, and one that fills every buffer on the way.
SIZES = (0, 1, 125, 126, 65535, 65536, 4 << 20)


def main(role, where):
    asyncio.run(serve(int(where)) if role == "serve" else converse(where))


async def serve(port):
    async with websockets.serve(echo, None, port, max_size=None):
        await asyncio.Future()


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def converse(url):
    """Text and bytes of every size, a message in many frames, pings between them, and the closing handshake."""
    async with websockets.connect(url, max_size=None) as connection:
        for size in SIZES:
            for message in (random.randbytes(size), "é" * size):
                await connection.send(message)
                assert await connection.recv() == message, f"a message of {size} came back changed"
            await (await connection.ping())
        frames = [random.randbytes(1000) for _ in range(1000)]
        await connection.send(frames)
        assert await connection.recv() == b"".join(frames), "a message in frames came back changed"
    assert connection.close_code == 1000, f"closed with {connection.close_code}"
    print("closed as agreed")


main(*sys.argv[1:])
