"""Motion-transfer videos from Wan2.1 on many GPUs: balanced shards, idempotent outputs, an honest verdict."""

__version__ = "0.1.0"
