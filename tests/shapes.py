"""What goes into a registry in tests that do not care what it is."""

from typing import Any

from pointsman.registry import Base

BASE = Base(
    fingerprint="ab" * 32, name="tiny", model_type="bert", hidden_size=8, layers=2, parameters=1_000, size=4_000
)
FIELDS: dict[str, Any] = {
    "files": {"adapter.safetensors": b"weights", "adapter_config.json": b"{}"},
    "task": {"name": "sst2", "labels": ["negative", "positive"]},
    "method": "seq_bn",
    "config": {"reduction_factor": 16, "non_linearity": "relu"},
    "base": BASE,
    "max_length": 128,
    "parameters": 100,
    "metrics": {"eval/accuracy": 0.5},
    "primary_metric": "eval/accuracy",
}
"""What ``Registry.add_version`` takes."""

RUN: dict[str, Any] = {
    "task": "sst2",
    "method": "seq_bn",
    "base": BASE,
    "settings": {"lr": 0.001},
    "data": {"rows": 3},
    "environment": {"python": "3.11"},
    "seed": 42,
}
"""What ``Registry.start_run`` takes."""
