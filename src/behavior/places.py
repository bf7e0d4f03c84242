"""Where names stand in tables, and rows of tables laid out: compiled where there was a C compiler, else in numpy.

Tables have one row more than names: the last stands for every unknown one. What each function does, `numpy_rows` says.
"""

try:
    from behavior.compiled_rows import places_in, stored_of, write_codes, write_gathered
except ImportError:
    from behavior.numpy_rows import places_in, stored_of, write_codes, write_gathered

__all__ = ["places_in", "stored_of", "write_codes", "write_gathered"]
