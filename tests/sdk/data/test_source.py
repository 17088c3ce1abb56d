"""Where rows come from, as a run records it; a run may have come with a stranger's bundle."""

import pytest

from pointsman.registry.errors import SettingsError
from pointsman.sdk.data.source import DataSource

ROWS = {"data": "/rows.csv", "validation": None, "text": ["body"], "label": "kind"}


def test_what_is_recorded_is_read_back():
    source = DataSource.of(data="/rows.csv", validation="/other.csv", text=["a", "b"], label="kind", positive="yes")
    assert DataSource.of_given(source.given) == source
    assert DataSource.of_given(ROWS) == DataSource.of("/rows.csv", None, ["body"], "kind")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "does not say where its rows came from"),
        (3, "does not say where its rows came from"),
        ({**ROWS, "reading": 3}, "does not say where its rows came from"),
        ({**ROWS, "reading": {"encoding": 3}}, "encoding must be"),
        ({**ROWS, "data": 3}, "data must be a path"),
        ({**ROWS, "text": 3}, "text and label must name columns"),
        ({**ROWS, "positive": []}, "positive must be a name"),
    ],
)
def test_odd_records_are_refused(given, said):
    with pytest.raises(SettingsError, match=said):
        DataSource.of_given(given)
