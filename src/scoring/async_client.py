"""The client for asyncio: as `client.py`, with `await`.

    async with AsyncClient("10.0.0.1:50051", "10.0.0.2:50051") as client:
        answer = await client.score("household-1", top_k=10)

It belongs to the event loop in which it is made.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc.aio

from behavior.served import CATEGORY
from scoring.calling import DEADLINE_S, Calling
from scoring.credentials import Credentials
from scoring.messages import question
from scoring.v1 import scoring_pb2 as wire
from scoring.v1.scoring_pb2_grpc import ScoringStub


class AsyncClient:
    """Talks to one server, or to several that answer alike; arguments and errors are those of `Client`."""

    def __init__(self, *addresses: str, deadline_s: float = DEADLINE_S, credentials: Credentials | None = None) -> None:
        shown = credentials or Credentials()
        self._calling = Calling(addresses, deadline_s, shown.metadata(*addresses))
        self._channel = shown.channel(self._calling.target, self._calling.options, grpc.aio)
        self._stub = ScoringStub(self._channel)

    async def score(
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
        """As `Client.score`."""
        request = question(
            user, anonymous=anonymous, candidates=candidates, kind=kind, placement=placement,
            utc_offset_s=utc_offset_s, zone=zone, device=device, page=page, top_k=top_k, explain=explain,
        )  # fmt: skip
        answer: wire.ScoreResponse = await self._call(self._stub.Score, request, deadline_s)
        self._calling.shown.keep(request, answer)
        return answer

    async def track(
        self, events: Iterable[wire.Event | Mapping[str, Any]], *, deadline_s: float | None = None
    ) -> list[wire.Result]:
        """As `Client.track`."""
        request = self._calling.events(events)
        return list((await self._call(self._stub.Track, request, deadline_s)).results)

    async def explain(
        self, request_id: str, *, events: bool = False, deadline_s: float | None = None
    ) -> wire.ExplainResponse:
        """As `Client.explain`."""
        request = wire.ExplainRequest(request_id=request_id, events=events)
        answer: wire.ExplainResponse = await self._call(self._stub.Explain, request, deadline_s)
        return answer

    async def close(self) -> None:
        """Close the connections; open calls are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        """Nothing is sent before the first call."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()

    async def _call(self, method: Any, request: Any, deadline_s: float | None) -> Any:
        timeout = self._calling.begun(deadline_s)
        try:
            answer = await method(request, timeout=timeout, metadata=self._calling.metadata)
        except grpc.RpcError as error:
            raise self._calling.told(error) from None
        except asyncio.CancelledError:
            self._calling.answered()  # given up by the caller: that says nothing about the server
            raise
        self._calling.answered()
        return answer
