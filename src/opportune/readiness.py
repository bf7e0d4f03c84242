"""Whether a child process is ready, asked over the wire as any client would ask.

A question that is not answered at once is answered no: the supervisor asks again. For a container's health check,
`python -m opportune.readiness grpc|metrics PORT` asks the same on the loopback and exits 0 or 1.
"""

import http.client
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from behavior.errors import BadInput

if TYPE_CHECKING:
    from scoring.credentials import Credentials

_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a child listens: an address that a client can use, its gRPC port and its metrics port."""

    host: str
    port: int
    metrics_port: int


def answers_metrics(place: Place) -> bool:
    """Whether `/metrics` answers 200."""
    return metrics_of(place) is not None


def metrics_of(place: Place) -> str | None:
    """What `/metrics` says, or None if it does not answer 200."""
    # Not urllib, which would send a question to ourselves through a configured proxy.
    connection = http.client.HTTPConnection(place.host, place.metrics_port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
        return text if answer.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def serves_grpc(place: Place, shown: "Credentials | None" = None) -> bool:
    """Whether grpc.health.v1 says SERVING for the whole server; `shown` to a server with TLS."""
    from grpc_health.v1 import health_pb2

    return bool(_health(place, shown) == health_pb2.HealthCheckResponse.SERVING)


def answers_grpc(place: Place, shown: "Credentials | None" = None) -> bool:
    """Whether grpc.health.v1 says anything: the server takes events, whether or not it has a model yet."""
    return _health(place, shown) is not None


def _health(place: Place, shown: "Credentials | None") -> int | None:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from scoring.credentials import Credentials

    target = f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"
    with (shown or Credentials()).channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
        except grpc.RpcError:
            return None
    return int(answer.status)


def _main() -> None:
    asked, port = sys.argv[1], int(sys.argv[2])
    place = Place("127.0.0.1", port, port)
    sys.exit(not (answers_metrics(place) if asked == "metrics" else _serves_as_set(place)))


def _serves_as_set(place: Place) -> bool:
    from deployment.settings import load
    from scoring.credentials import Credentials

    try:
        return serves_grpc(place, Credentials.of_probe(load()))
    except BadInput as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
