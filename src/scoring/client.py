"""A client: ask for a ranking, report what happened. Synchronous, safe to share between threads.

    with Client("10.0.0.1:50051", "10.0.0.2:50051") as client:
        answer = client.score("household-1", top_k=10)
        client.track([{"message_id": "m1", "kind": "purchase", "user_id": "household-1", ...}])

Calls have a deadline, go to servers that are healthy, and are repeated only when a server was unavailable; all methods
are safe to repeat. How: `calling.py`. The same for asyncio: `async_client.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from behavior.served import CATEGORY
from scoring.calling import DEADLINE_S, Calling
from scoring.credentials import Credentials
from scoring.messages import question
from scoring.v1 import scoring_pb2 as wire
from scoring.v1.scoring_pb2_grpc import ScoringStub


class Client:
    """Talks to one server, or to several that answer alike.

    addresses     `host:port`; several must be IP addresses, or one `dns:///name:port` of many
    deadline_s    how long a call may take with all its repetitions, unless the call says otherwise
    credentials   what is shown to the servers, and by what they are trusted; without TLS and token unless given

    Raises BadInput for addresses that cannot be used together.
    """

    def __init__(self, *addresses: str, deadline_s: float = DEADLINE_S, credentials: Credentials | None = None) -> None:
        shown = credentials or Credentials()
        self._calling = Calling(addresses, deadline_s, shown.metadata(*addresses))
        self._channel = shown.channel(self._calling.target, self._calling.options)
        self._stub = ScoringStub(self._channel)

    def score(
        self,
        user: str | None = None,
        *,
        anonymous: str | None = None,
        candidates: Sequence[str] = (),
        kind: str = CATEGORY,
        placement: str = "",
        utc_offset_s: int | None = None,
        zone: str | None = None,
        device: str = "",
        page: str = "",
        top_k: int = 0,
        explain: bool = False,
        deadline_s: float | None = None,
    ) -> wire.ScoreResponse:
        """Candidates ranked for a user (or somebody anonymous); the server's own choice unless `candidates` names some.

        Raises BadInput, Unavailable, or OpportuneError with the server's own sentence.
        """
        request = question(
            user, anonymous=anonymous, candidates=candidates, kind=kind, placement=placement,
            utc_offset_s=utc_offset_s, zone=zone, device=device, page=page, top_k=top_k, explain=explain,
        )  # fmt: skip
        answer: wire.ScoreResponse = self._call(self._stub.Score, request, deadline_s)
        self._calling.shown.keep(request, answer)
        return answer

    def track(
        self, events: Iterable[wire.Event | Mapping[str, Any]], *, deadline_s: float | None = None
    ) -> list[wire.Result]:
        """What became of each event, in their order; events as messages or as mappings (see `event` in `messages.py`).

        An event about what this client has just shown its user gets the request id of that answer, unless it has one.
        Raises BadInput, Unavailable, or OpportuneError with the server's own sentence. After Unavailable nothing is
        known of the events: send the same ones again, none is taken twice.
        """
        request = self._calling.events(events)
        return list(self._call(self._stub.Track, request, deadline_s).results)

    def explain(
        self, request_id: str, *, events: bool = False, deadline_s: float | None = None
    ) -> wire.ExplainResponse:
        """An answer of the past made again, and whether it is the same; with the user's events by then if wanted.

        Raises BadInput, NotFound, Altered, Unavailable, or OpportuneError with the server's own sentence.
        """
        request = wire.ExplainRequest(request_id=request_id, events=events)
        answer: wire.ExplainResponse = self._call(self._stub.Explain, request, deadline_s)
        return answer

    def close(self) -> None:
        """Close the connections; open calls are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        """Nothing is sent before the first call."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def _call(self, method: Any, request: Any, deadline_s: float | None) -> Any:
        timeout = self._calling.begun(deadline_s)
        try:
            answer = method(request, timeout=timeout, metadata=self._calling.metadata)
        except grpc.RpcError as error:
            raise self._calling.told(error) from None
        self._calling.answered()
        return answer
