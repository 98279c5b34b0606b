"""Fetching an image from the web: http and https, public addresses only, within limits of size and time."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from contextlib import suppress
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import openvocab
from openvocab.errors import ImageError

__all__ = ["fetch"]

LARGEST = 2**26
"""Bytes of an image that are still fetched."""

SECONDS = 30.0
"""How long fetching one image may take, redirects included."""

_REDIRECTS = 3
_CHUNK = 2**16
_SAFE = "/%:@!$&'()*+,;=~?"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_MOVED = (301, 302, 303, 307, 308)


def fetch(url: str, *, largest: int = LARGEST, seconds: float = SECONDS) -> bytes:
    """Return what lies at a web address.

    The host is looked up once, every address that it has must be public, and the connection goes to the address that
    was checked, so that another answer of the name server changes nothing. Each redirect is checked in the same way.
    Proxies and credentials of the environment are not used.

    Raises:
        ImageError: too_large; missing where the server says that there is none; else unreadable.
    """
    deadline = time.monotonic() + seconds
    try:
        return _follow(url, largest, deadline)
    except ImageError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
            raise _unreadable(url, f"it took longer than {seconds:g} s; try again later") from error
        raise _unreadable(url, f"{' '.join(str(error).split())[:200]}; check the address") from error


def _follow(url: str, largest: int, deadline: float) -> bytes:
    at = url
    for _ in range(_REDIRECTS + 1):
        connection = _connect(urlsplit(at), url, deadline)
        clock = threading.Timer(_left(deadline), _cut, [connection.sock])  # a trickle of headers ends here too
        clock.daemon = True
        clock.start()
        try:
            answer = _ask(connection, urlsplit(at))
            if answer.status not in _MOVED:
                return _body(answer, url, largest, deadline)
            at = urljoin(at, answer.headers.get("Location", ""))
        finally:
            clock.cancel()
            connection.close()
    raise _unreadable(url, f"it redirects more than {_REDIRECTS} times; give the last address")


def _connect(parts: SplitResult, url: str, deadline: float) -> http.client.HTTPConnection:
    """Open a connection to a checked address of the host.

    Raises:
        ImageError: the scheme is another, the host is missing, or one of its addresses is not public.
    """
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _unreadable(url, "only http and https addresses of a host are fetched; download it by other means")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]) for each in found]
    if not addresses or not all(map(is_public, addresses)):
        raise _unreadable(url, "its host is not on the public internet; download it by other means")
    connection = http.client.HTTPConnection(parts.hostname, port)
    plain = socket.create_connection((addresses[0], port), timeout=_left(deadline))
    connection.sock = plain
    if parts.scheme == "https":
        connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
    return connection


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public internet; those that wrap an IPv4 address are as that one is."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not (found.is_multicast or found.is_reserved)


def _ask(connection: http.client.HTTPConnection, parts: SplitResult) -> http.client.HTTPResponse:
    target = quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        target += f"?{quote(parts.query, safe=_SAFE)}"
    connection.request("GET", target, headers={"User-Agent": f"openvocab/{openvocab.__version__}", "Accept": "image/*"})
    return connection.getresponse()


def _body(answer: http.client.HTTPResponse, url: str, largest: int, deadline: float) -> bytes:
    if answer.status in (404, 410):
        raise ImageError("missing", f"{url!r} does not exist (HTTP {answer.status}); check the address")
    if answer.status != 200:
        raise _unreadable(url, f"the server answered HTTP {answer.status}; check the address")
    data = bytearray()
    while len(data) <= largest:
        chunk = answer.read1(_CHUNK)
        _left(deadline)
        if not chunk:
            if answer.length:
                raise ImageError("truncated", f"{url!r} broke off after {len(data)} bytes; try again")
            return bytes(data)
        data += chunk
    raise ImageError("too_large", f"{url!r} has more than the limit of {largest} bytes; download it by other means")


def _cut(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _unreadable(url: str, why: str) -> ImageError:
    return ImageError("unreadable", f"{url!r} cannot be fetched: {why}")
