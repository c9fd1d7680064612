"""The time as it is kept and shown: UTC, to the second."""

from datetime import UTC, datetime, timedelta


def now(ago: timedelta = timedelta()) -> str:
    """Now, or a while ago; such texts sort by time."""
    return (datetime.now(UTC) - ago).strftime("%Y-%m-%d %H:%M:%S")
