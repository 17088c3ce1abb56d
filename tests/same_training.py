"""Compares two trainings: every point of their histories, their scores and their weights."""

import pytest
import torch
from safetensors.torch import load

from pointsman.registry import Registry, Version


def values_of(registry: Registry, run: str | None) -> dict[str, dict[int, float]]:
    """Every metric's value by step but for speed, which no two runs share."""
    return {
        summary.key: {point.step: point.value for point in registry.history(f"run:{run}", summary.key)}
        for summary in registry.summaries(f"run:{run}")
        if summary.key != "train/samples_per_second"
    }


def check_same(
    registry: Registry, one: Version, other: Version, *, tolerance: float, other_registry: Registry | None = None
) -> None:
    """Check that two versions on the tiny base, of classes and with an adapter in each layer, were trained the same.

    Args:
        registry: Where they are.
        one: A version.
        other: What it should be the same as.
        tolerance: The relative and absolute error.
        other_registry: Where the other is, if it is somewhere else.
    """
    of_other = other_registry or registry
    values, expected = values_of(registry, one.run), values_of(of_other, other.run)
    assert values.keys() == expected.keys() >= {"train/loss", "eval/loss"}
    for key, points in expected.items():
        assert values[key] == pytest.approx(points, rel=tolerance, abs=tolerance), key
    assert one.metrics == pytest.approx(other.metrics, rel=tolerance, abs=tolerance)
    found, right = _tensors(registry, one), _tensors(of_other, other)
    assert found.keys() == right.keys()
    assert len(found) == 2 * 4 + 4  # of an adapter in each layer, and of the head
    for key, tensor in right.items():
        torch.testing.assert_close(found[key], tensor, rtol=tolerance, atol=tolerance)


def _tensors(registry: Registry, version: Version) -> dict[str, torch.Tensor]:
    files = registry.read_files(version)
    return {
        key.replace(version.name, "it"): tensor
        for name, content in files.items()
        if name.endswith(".safetensors")
        for key, tensor in load(content).items()
    }
