"""Numbers, sizes and times as people read them."""

from datetime import UTC, datetime


def number(value: float | None) -> str:
    """A metric's value, to four digits."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"


def count(value: int, noun: str = "") -> str:
    """A count with separators, 1,234,567; with a noun also its plural: 1 file, 2 files."""
    return f"{value:,} {noun}{'s' * (value != 1)}" if noun else f"{value:,}"


def size(value: float) -> str:
    """Bytes with a unit: 1.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def share(part: float, total: float) -> str:
    """A part of a total in percent."""
    return f"{100 * part / total:.2f} %" if total else "-"


def duration(seconds: float) -> str:
    """Seconds with units: 2m05s."""
    seconds = max(seconds, 0)
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


def ago(time: datetime) -> str:
    """The time since ``time``, in its greatest unit: 2h ago."""
    seconds = max((datetime.now(UTC) - time).total_seconds(), 0)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit} ago"
    return f"{seconds:.0f}s ago"


def local(time: datetime) -> str:
    """A time on this machine's clock."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
