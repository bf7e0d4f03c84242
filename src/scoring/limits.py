"""What one connection may do to a server: the limits that gRPC itself keeps, each with its reason.

Limits of a message's content stand with the content: candidates in `request.py`, events and their fields in
`collect.py` and `behavior/admission.py`, time in `calls.py`. Limits per caller are in the access file (`access.py`).
"""

KIB = 1024
MIB = 1024 * KIB

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    # A thousand events of 4 KiB, or a thousand candidates ten times over; what is longer is not even read.
    ("grpc.max_receive_message_length", 4 * MIB),
    # A token and a trace take 1 KiB. Metadata is buffered before anybody knows who calls.
    ("grpc.max_metadata_size", 8 * KIB),
    ("grpc.absolute_max_metadata_size", 8 * KIB),
    # Against overload by one caller: the rest of its calls wait on its own connection. Whoever else calls waits for all
    # calls in the house, since they queue in gRPC before Python sees them, the first one first. Beside one connection
    # that is never idle, with calls of 1 ms, that is 14 ms at the median (28 with 16 streams); with calls of 5 ms nine
    # of ten keep a deadline of 100 ms (one of four with 16). Fewer would make a caller wait while Redis is late, when
    # each of its calls lasts until the read is given up; one of them watches the health besides.
    # Against many noisy connections this is no help, `calls_per_s` in the access file is.
    ("grpc.max_concurrent_streams", 8),
    # gRPC's own pushback counts calls that are answered but not yet cleared away, and refuses a client that keeps to
    # the limit of streams: 51 to 72 of 128 calls in one burst failed with it, none without.
    ("grpc.http.overload_protection", 0),
    # A handshake takes milliseconds; who connects and stays silent is sent away, with TLS and without.
    ("grpc.server_handshake_timeout_ms", 10_000),
    # A connection costs 14 KiB. Clients connect again by themselves, and pools rest longer than a minute.
    ("grpc.max_connection_idle_ms", 300_000),
    # A caller that vanished without a word (a machine that died) is noticed in 80 s, and its calls end.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Clients may keep their connections alive, also between calls, but not every moment.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # 28 MiB of idle connections at the most; connections beyond it are closed at once.
    ("grpc.max_allowed_incoming_connections", 2_000),
)
