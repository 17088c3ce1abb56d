"""Memory that was freed goes back to the system."""

import platform
from pathlib import Path

import pytest

from pointsman.sdk.core.memory import trim_heap


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what was freed between what is in use")
def test_what_was_freed_between_what_is_in_use_goes_back_to_the_system() -> None:
    blocks = [bytes([number % 256]) * 100_000 for number in range(2_000)]
    full = resident()
    kept = blocks[::20]
    del blocks
    freed = resident()
    trim_heap()
    assert full - freed < 10e6  # it is the C library that kept it
    assert freed - resident() > 150e6
    assert kept == [bytes([number % 256]) * 100_000 for number in range(0, 2_000, 20)]


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096
