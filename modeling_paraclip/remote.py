"""Pictures behind a URL, for those who ask for it: a data set should not make anybody's machine send requests."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp

from .pictures import MAX_BYTES, is_url, read_file

SECONDS = 30  # for a picture, from the name of the host to the last byte
MAX_REDIRECTS = 5


def read_file_or_url(path: str | Path) -> bytes:
    """`pictures.read_file`, and what an http or https URL gives.

    Private and local addresses are never connected to, neither by name, nor by redirection, nor by a name that changes
    its address: the address of each connection is checked. No proxy, cookie or login is used.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or no plain file.
    """
    if not is_url(path):
        return read_file(path)
    with ThreadPoolExecutor(1) as thread:  # a notebook's own thread has a running loop already
        try:
            return thread.submit(asyncio.run, _fetch(str(path))).result()
        except aiohttp.ClientResponseError as error:
            raise OSError(f"the server answers {error.status} {error.message}") from error
        except TimeoutError as error:
            raise OSError(f"not there within {SECONDS} seconds") from error
        except aiohttp.ClientError as error:
            raise OSError(str(error) or type(error).__name__) from error


async def _fetch(url: str) -> bytes:
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=_public_socket),
            timeout=aiohttp.ClientTimeout(total=SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "paraclip", "Accept-Encoding": "identity"},
            auto_decompress=False,  # a small answer could become a large one
        ) as session,
        session.get(url, max_redirects=MAX_REDIRECTS) as response,
    ):
        response.raise_for_status()
        data = bytearray()
        async for block in response.content.iter_chunked(2**16):
            data += block
            if len(data) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES:,} bytes")
        return bytes(data)


def _public_socket(address: tuple) -> socket.socket:
    """Called with (family, type, protocol, name, socket address) before each connection."""
    family, kind, protocol, _, (host, *_) = address
    if not is_public(host):
        raise OSError(f"{host} is no public address")
    return socket.socket(family, kind, protocol)


def is_public(host: str) -> bool:
    """Whether an IP address is one of the public internet."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return address.is_global and not address.is_multicast
