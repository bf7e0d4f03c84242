"""Reflection behind the door: what tools such as grpcurl ask a server about its methods."""

from collections.abc import AsyncIterator
from typing import Any

from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from behavior.errors import OpportuneError
from scoring.calls import hints_of, status_of
from scoring.door import Door

SERVICE = reflection.SERVICE_NAME


class _Guarded:
    """gRPC's own servicer, asked only by those who may."""

    def __init__(self, names: tuple[str, ...], door: Door) -> None:
        self._own = reflection.aio.ReflectionServicer(names)
        self._door = door

    async def ServerReflectionInfo(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802 - gRPC's name
        """Answer each question of the stream."""
        try:
            with self._door.passage("reflection", context):
                async for answer in self._own.ServerReflectionInfo(requests, context):
                    yield answer
        except OpportuneError as error:
            await context.abort(*status_of(error), hints_of(error))


def add_reflection(server: Any, names: tuple[str, ...], door: Door) -> None:
    """Let the server describe its services to those who may ask."""
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(_Guarded((*names, SERVICE), door), server)
