"""How both clients connect."""

ADDRESS = "localhost:50051"

PER_CALL = 32
"""Images in one call by default: enough to spread the cost of a call, and few enough for any server's limit."""

IN_FLIGHT = 32
"""Unanswered messages of a stream: enough to fill a batch, and few enough not to fill the server's queue."""

OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # A connection that died silently is noticed, but only while a call is on it.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]
