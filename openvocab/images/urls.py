"""Fetching images over HTTP and HTTPS, from public addresses only, within limits of size and time."""

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

MAX_BYTES = 2**26
"""The largest image that is fetched, in bytes."""

TIMEOUT_SECONDS = 30.0
"""The time limit for one image, including redirects."""

_REDIRECTS = 3
_CHUNK = 2**16
_SAFE = "/%:@!$&'()*+,;=~?"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_MOVED = (301, 302, 303, 307, 308)


def fetch(url: str, *, max_bytes: int = MAX_BYTES, timeout: float = TIMEOUT_SECONDS) -> bytes:
    """Return the body of a web address.

    The host is resolved once, each of its addresses must be public, and the connection uses the checked address, which
    defeats DNS rebinding. Redirects are checked in the same way. Proxies and credentials from the environment are not
    used.

    Args:
        url: The http or https address.
        max_bytes: The largest body that is accepted.
        timeout: The time limit in seconds, including redirects.

    Raises:
        ImageError: kind is too_large, missing (404 or 410), truncated or unreadable.
    """
    deadline = time.monotonic() + timeout
    try:
        return _follow(url, max_bytes, deadline)
    except ImageError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
            raise _unreadable(url, f"it took longer than {timeout:g} s; try again later") from error
        raise _unreadable(url, f"{' '.join(str(error).split())[:200]}; check the address") from error


def _follow(url: str, max_bytes: int, deadline: float) -> bytes:
    at = url
    for _ in range(_REDIRECTS + 1):
        connection = _connect(urlsplit(at), url, deadline)
        clock = threading.Timer(
            _remaining(deadline), _shut_down, [connection.sock]
        )  # also ends a server that trickles headers
        clock.daemon = True
        clock.start()
        try:
            answer = _request(connection, urlsplit(at))
            if answer.status not in _MOVED:
                return _body(answer, url, max_bytes, deadline)
            at = urljoin(at, answer.headers.get("Location", ""))
        finally:
            clock.cancel()
            connection.close()
    raise _unreadable(url, f"it redirects more than {_REDIRECTS} times; give the last address")


def _connect(parts: SplitResult, url: str, deadline: float) -> http.client.HTTPConnection:
    """Connect to a checked address of the host.

    Raises:
        ImageError: The scheme is not supported, the host is missing, or one of its addresses is not public.
    """
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _unreadable(url, "only http and https addresses of a host are fetched; download it by other means")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]) for each in found]
    if not addresses or not all(map(is_public, addresses)):
        raise _unreadable(url, "its host is not on the public internet; download it by other means")
    connection = http.client.HTTPConnection(parts.hostname, port)
    plain = socket.create_connection((addresses[0], port), timeout=_remaining(deadline))
    connection.sock = plain
    if parts.scheme == "https":
        connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
    return connection


def is_public(address: str) -> bool:
    """Return whether an IP address is public; an address that embeds an IPv4 address is judged by that one."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not (found.is_multicast or found.is_reserved)


def _request(connection: http.client.HTTPConnection, parts: SplitResult) -> http.client.HTTPResponse:
    target = quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        target += f"?{quote(parts.query, safe=_SAFE)}"
    connection.request("GET", target, headers={"User-Agent": f"openvocab/{openvocab.__version__}", "Accept": "image/*"})
    return connection.getresponse()


def _body(answer: http.client.HTTPResponse, url: str, max_bytes: int, deadline: float) -> bytes:
    if answer.status in (404, 410):
        raise ImageError("missing", f"{url!r} does not exist (HTTP {answer.status}); check the address")
    if answer.status != 200:
        raise _unreadable(url, f"the server answered HTTP {answer.status}; check the address")
    data = bytearray()
    while len(data) <= max_bytes:
        chunk = answer.read1(_CHUNK)
        _remaining(deadline)
        if not chunk:
            if answer.length:
                raise ImageError("truncated", f"{url!r} ended after {len(data)} bytes; try again")
            return bytes(data)
        data += chunk
    raise ImageError("too_large", f"{url!r} has more than the limit of {max_bytes} bytes; download it by other means")


def _shut_down(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _unreadable(url: str, why: str) -> ImageError:
    return ImageError("unreadable", f"{url!r} cannot be fetched: {why}")
