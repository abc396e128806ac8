"""Every setting, with its unit in its name. The meanings are those of docs/client.md."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


@dataclass(frozen=True)
class Tls:
    """TLS on every TCP connection. Without `ca_file` the system's authorities are trusted."""

    ca_file: str | None = None
    server_name: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def context(self) -> ssl.SSLContext:
        """Reads the files anew, so that a renewed certificate is used by the next connection."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["ndjson-rpc/1"])
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context


@dataclass(frozen=True)
class Settings:
    """The settings of a client. Times are in milliseconds."""

    call_timeout_ms: int = 5_000
    """A call's time where the call does not say."""
    connect_timeout_ms: int = 3_000
    """One attempt to connect: looking up the host, TCP, TLS and authentication."""
    fail_fast_after_ms: int = 1_000
    """How long calls wait for a server that cannot be reached; later ones fail at once."""
    reconnect_base_ms: int = 50
    """Shortest window of the back-off between attempts to connect, and between the calls of a resumable stream."""
    reconnect_cap_ms: int = 5_000
    """Longest window; also the longest time that a resumable stream waits because its server asks for it."""
    in_flight_per_connection: int = 65_536
    """Calls in flight on a connection; further ones wait."""
    output_bytes_max: int = 8_388_608
    """Bytes that wait to be written; further calls wait."""
    frame_bytes_max: int = 16_777_216
    """Longest reply line in bytes. A longer one ends the connection."""
    stream_credit: int = 64
    """Items that a stream sends ahead of its reader."""
    stream_bytes_max: int = 16_777_216
    """Bytes of a stream's items that wait for their reader; the next item ends the stream with code 8."""
    ordered: bool = False
    """Every call without an id, for servers that know none."""
    keepalive_idle_ms: int = 10_000
    """Idle time before TCP keepalive; 0: off."""
    keepalive_interval_ms: int = 3_000
    """Between its probes."""
    keepalive_probes: int = 3
    """Probes without an answer."""
    tcp_user_timeout_ms: int = 10_000
    """Sent bytes without an acknowledgement; 0: the system's. At least the time of all keepalive probes."""
    ping_interval_ms: int = 5_000
    """Received silence before a ping; 0: off."""
    ping_misses_max: int = 2
    """Pings without an answer before the connection is given up."""
    write_stall_timeout_ms: int = 10_000
    """A server that takes no bytes; 0: off."""
    attempts_max: int = 3
    """Tries of a call, the first included; 1: no retries."""
    retry_base_ms: int = 10
    """Longest pause before the third try; it doubles."""
    retry_cap_ms: int = 1_000
    """Longest pause before any."""
    retry_budget_percent: int = 20
    """Retries in percent of the calls."""
    retry_budget_per_second: int = 10
    """Retries a second besides."""
    idempotent_cmdids: tuple[int, ...] = ()
    """Commands that may run twice."""
    tls: Tls | None = None
    """TLS; `tls:HOST:PORT` as a target has it, too."""
    token: str | None = None
    """The token by which each connection authenticates."""
    token_file: str | None = None
    """A file with the token, read anew for each connection."""

    def __post_init__(self) -> None:
        for name in (
            "in_flight_per_connection",
            "output_bytes_max",
            "frame_bytes_max",
            "stream_credit",
            "stream_bytes_max",
            "attempts_max",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; it must be at least 1")
        for name, value in vars(self).items():
            if isinstance(value, int) and value < 0:
                raise ValueError(f"`{name}` is {value}; it must be at least 0")
