"""How a client calls: over one address or several, with a deadline, again only where that is right.

What the two clients, `client.py` and `async_client.py`, share: everything but the waiting.

    several addresses   each call goes to the next server whose health says SERVING (gRPC's own `round_robin`, watching
                        health); a server that drains or has died gets none
    UNAVAILABLE         tried again, elsewhere if there is an elsewhere, within the call's deadline; nothing else is
    calls not taken     held back by the client itself: `throttle.py`
"""

import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc

from behavior.errors import Altered, BadInput, Forbidden, NotFound, OpportuneError, Unauthenticated, Unavailable
from scoring.messages import event
from scoring.shown import ShownAnswers
from scoring.throttle import Throttle
from scoring.v1 import scoring_pb2 as wire

SERVICE = "scoring.v1.Scoring"
DEADLINE_S = 2.0
_RETRY = {
    # 5 is the most that gRPC allows. With these pauses they span 0.75 s: a worker is replaced in less.
    "maxAttempts": 5,
    "initialBackoff": "0.05s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 2,
    # Nothing else: a server that is overloaded or has refused must not be asked again. CANCELLED is how gRPC itself
    # says unavailable: a server that shuts down answers so what has arrived and nobody has looked at yet.
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}
# All calls in flight to a server that is killed fail at once. They must not use up what may be repeated, but a service
# that is gone is asked again for one call in ten only (gRFC A6: no retries below half of maxTokens).
_RETRY_THROTTLING = {"maxTokens": 1000, "tokenRatio": 0.1}
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.enable_retries", 1),
    # A scorer is a neighbour, not a web site: a proxy from the environment is never meant for it.
    ("grpc.enable_http_proxy", 0),
    # Connections of its own: two clients of a process do not wait for each other's streams.
    ("grpc.use_local_subchannel_pool", 1),
    # gRPC's own pauses (1 s, then up to 120 s, and 20 s for one attempt) would outlast all repetitions of a call. With
    # these, a server that is back is found before the next one goes: within its notice, and within the repetitions.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.min_reconnect_backoff_ms", 1000),  # of one attempt, in spite of its name
    # A server whose machine has vanished sends nothing, not even an end. Servers permit a ping every 10 s.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 2_000),
)
_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
# What a server says of the call itself, in its own sentence.
_SAID: dict[grpc.StatusCode, type[OpportuneError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: BadInput,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.DATA_LOSS: Altered,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: Forbidden,
}
# What says that a server did not take a call; every other status is an answer.
_NOT_TAKEN = _AWAY | {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}


class Calling:
    """The policy of one client: where it calls, and what it makes of what comes back.

    addresses     `host:port`, one or several; several must be IP addresses. `dns:///name:port` is balanced over all
                  addresses of the name
    deadline_s    how long a call may take with all its repetitions, unless the call says otherwise
    metadata      sent with every call

    Raises BadInput for addresses that cannot be used together.
    """

    def __init__(self, addresses: Sequence[str], deadline_s: float, metadata: Sequence[tuple[str, str]] = ()) -> None:
        self.target = target_of(addresses)
        self.options = (("grpc.service_config", service_config(balanced=_is_balanced(addresses))), *_OPTIONS)
        self.metadata = tuple(metadata)
        self.shown = ShownAnswers()
        self.throttle = Throttle()
        self._deadline_s = deadline_s
        self._named = addresses[0] if len(addresses) == 1 else f"any of {', '.join(addresses)}"

    def begun(self, deadline_s: float | None) -> float:
        """The seconds that a call may take. Raises Unavailable if the client itself holds the call back."""
        if not self.throttle.lets_through():
            raise Unavailable(
                f"held back by the client: too few of the last calls to {self._named} were taken; try again later"
            )
        return self._deadline_s if deadline_s is None else deadline_s

    def events(self, events: Iterable[wire.Event | Mapping[str, Any]]) -> wire.TrackRequest:
        """Events as one message, each with the request that it follows from. Raises BadInput for what is no event."""
        messages = (each if isinstance(each, wire.Event) else event(**each) for each in events)
        return wire.TrackRequest(events=[self.shown.led_to(each) for each in messages])

    def answered(self) -> None:
        """Count a call that went well."""
        self.throttle.accepted()

    def told(self, error: Any) -> OpportuneError:
        """A failed call in the words of the house."""
        code, detail = error.code(), error.details()
        if code not in _NOT_TAKEN:
            self.throttle.accepted()
        if code in _SAID:
            return _SAID[code](detail)
        where = f"the server at {self._named}"
        if code in _AWAY:
            return Unavailable(f"{where} is unavailable: {detail}")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unavailable(f"{where} did not answer in time; give a longer deadline")
        return OpportuneError(f"{where} answered {code.name}: {detail}")


def target_of(addresses: Sequence[str]) -> str:
    """The addresses as gRPC's resolver understands them.

    Raises BadInput if there is none, or if several are not all IPv4 or all IPv6.

    >>> target_of(["scorer:50051"]), target_of(["10.0.0.1:50051", "10.0.0.2:50051"])
    ('scorer:50051', 'ipv4:10.0.0.1:50051,10.0.0.2:50051')
    """
    if not addresses:
        raise BadInput("a client needs an address, such as 127.0.0.1:50051")
    if len(addresses) == 1:
        return addresses[0]
    versions = {_ip_version(each) for each in addresses}
    if len(versions) > 1:
        raise BadInput(f"{', '.join(addresses)}: give only IPv4 or only IPv6 addresses")
    return f"ipv{versions.pop()}:{','.join(addresses)}"


def service_config(*, balanced: bool) -> str:
    """gRPC's service config: what is repeated and, if `balanced`, that calls go round the healthy servers.

    A single address is not watched: with nowhere else to go, a server that drains answers better than nobody.
    """
    config: dict[str, Any] = {
        "methodConfig": [{"name": [{"service": SERVICE}], "retryPolicy": _RETRY}],
        "retryThrottling": _RETRY_THROTTLING,
    }
    if balanced:
        config["loadBalancingConfig"] = [{"round_robin": {}}]
        config["healthCheckConfig"] = {"serviceName": SERVICE}
    return json.dumps(config)


def _is_balanced(addresses: Sequence[str]) -> bool:
    return len(addresses) > 1 or addresses[0].startswith("dns:")


def _ip_version(address: str) -> int:
    host, _, port = address.rpartition(":")
    try:
        if not 0 < int(port) < 65536:
            raise ValueError
        return ipaddress.ip_address(host.strip("[]")).version
    except ValueError:
        raise BadInput(
            f"{address!r} is no IP address with a port; of several addresses each must be one, "
            "such as 10.0.0.1:50051, or give one name as dns:///scorer:50051"
        ) from None
