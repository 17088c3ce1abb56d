import logging
from pathlib import Path

from pointsman.registry import Registry
from pointsman.sdk import train


def test_a_training_prints_no_warning_of_the_library(registry: Registry, tiny_base: Path) -> None:
    """The adapters library warns that no adapter is active, while it initialises the one that is to be trained."""
    texts: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())

    listener, logger = Listener(), logging.getLogger("adapters.model_mixin")
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.WARNING)
    try:
        train("sst2", base=str(tiny_base), data="sample", max_steps=1, max_length=16, max_train_rows=16,
              max_eval_rows=8, registry=registry)  # fmt: skip
        assert texts == []
        logger.warning("others are heard")
        assert texts == ["others are heard"]
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
