"""Raw values of many stored states in one pass; see `readout`."""


def width() -> int:
    """How many."""
    return 1
