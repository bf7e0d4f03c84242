"""Where one Redis is and how it is greeted, as its URL tells redis-py: host or socket, TLS, user, database."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import redis.asyncio

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)


@dataclass(frozen=True, slots=True)
class Address:
    """What redis-py would connect to; `told` is a connection of its own that is never opened."""

    told: Any

    @classmethod
    def of(cls, url: str) -> "Address":
        """That of a URL: redis://, rediss:// or unix://, with the options that redis-py takes."""
        return cls(redis.asyncio.ConnectionPool.from_url(url).make_connection())

    def __str__(self) -> str:
        """Host and port, or the path of the socket; no password."""
        path = getattr(self.told, "path", None)
        return str(path) if path else f"{self.told.host}:{self.told.port}"

    async def open(self, make: Callable[[], _Protocol]) -> _Protocol:
        """The protocol of a new connection. Raises OSError."""
        loop, told = asyncio.get_running_loop(), self.told
        if getattr(told, "path", None):
            return (await loop.create_unix_connection(make, told.path))[1]
        secured = told.ssl_context.get() if isinstance(told, redis.asyncio.SSLConnection) else None
        transport, protocol = await loop.create_connection(make, told.host, told.port, ssl=secured)
        if told.socket_keepalive:
            held = transport.get_extra_info("socket")
            held.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in told.socket_keepalive_options.items():
                held.setsockopt(socket.IPPROTO_TCP, option, value)
        return protocol

    def greetings(self) -> Iterator[tuple[Any, ...]]:
        """The commands that come before all others: who we are, and which database; each once the one before is taken.

        None of them asks for RESP3: hiredis takes three times as long to make a dict of its maps as `dict` of a list.
        """
        told = self.told
        if told.username or told.password:
            yield "AUTH", *filter(None, (told.username,)), told.password or ""
        if told.client_name:
            yield "CLIENT", "SETNAME", told.client_name
        if told.db:
            yield "SELECT", told.db
