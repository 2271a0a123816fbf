# SPDX-License-Identifier: Apache-2.0
"""Who may open the page: this machine, or whoever has the token; and never another site's script."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_TOKEN_BYTES = 32
# A given token shorter than this could be guessed; a line longer is no token.
_SHORTEST, _LONGEST = 16, 256


@dataclass(frozen=True)
class PageAddress:
    """Where the page's server listens: an IP address or ``localhost``, and a port; 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> PageAddress:
        """Read ``HOST:PORT``, ``[IPv6]:PORT``; ValueError says what is wrong and what to write."""
        parts = urlsplit(f"//{text}")
        try:
            host, port = parts.hostname, parts.port
            if host and host != "localhost":
                ipaddress.ip_address(host)
        except ValueError:
            host, port = None, None
        if not host or port is None or text != parts.netloc or "@" in text:
            raise ValueError(
                f"panel address '{text}': write an IP address of this machine and a port, such as 127.0.0.1:8710, "
                "0.0.0.0:8710 (every network) or [::1]:8710"
            )
        return cls(host, port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    def url(self, port: int) -> str:
        """The address for a browser; the machine's name where it listens on every network."""
        host = self.host
        if host != "localhost" and ipaddress.ip_address(host).is_unspecified:
            host = socket.gethostname()
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def new_token() -> str:
    """Make a token of 32 random bytes, as text for a URL."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def read_token(path: Path) -> str:
    """Read the token of a file; ValueError where others may read it, or where it is none."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ValueError(f"{path}: others may read the token (mode {mode:o}); write: chmod 600 {path}")
    token = path.read_text(encoding="utf-8").strip()
    if not (_SHORTEST <= len(token) <= _LONGEST and token.isascii() and token.isprintable() and " " not in token):
        raise ValueError(
            f"{path}: holds no token; write {_SHORTEST} to {_LONGEST} letters and digits, such as of: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return token


class Access:
    """Judges requests by their Host, their Origin and the token; without a token this machine's own are let in."""

    def __init__(self, address: PageAddress, token: str) -> None:
        if not token and not address.is_loopback:
            raise ValueError(f"panel address {address.host}: others reach it, and there is no token")
        self.address, self._token = address, token
        name = socket.gethostname().lower()
        self._names = {"localhost"} if address.is_loopback else {"localhost", name, f"{name}.local", socket.getfqdn()}

    @property
    def needs_token(self) -> bool:
        """Whether a page has to show the token."""
        return bool(self._token)

    def knows(self, token: str) -> bool:
        """Whether this is the token; takes as long for each wrong one."""
        return not self._token or hmac.compare_digest(token.encode(), self._token.encode())

    def host_is_ours(self, host: str) -> bool:
        """Whether a Host header names this machine by number or by its own name.

        A page of another name whose address was turned to this machine's (DNS rebinding) is not let in. Any port: a
        tunnel has one of its own.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            number = ipaddress.ip_address(name)
        except ValueError:
            return False
        return number.is_loopback or not self.address.is_loopback

    def origin_is_ours(self, origin: str | None, host: str) -> bool:
        """Whether a script of this very page asks, by what its browser says; one that says nothing is refused."""
        if origin is None:
            return False
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower() != ""
