from collections.abc import Callable
from typing import Any

from scoring.answer import Answer

def write(answer: Answer, key_id: str, seal: bytes, packed: Callable[[Any], bytes]) -> bytes: ...
