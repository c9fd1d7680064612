"""Who may use an app that other machines can reach: an access token, or Streamlit's own login; and read-only links.

Tokens are 256 random bits, shown once; what is kept is their SHA-256.  A read-only link opens some findings and nothing else.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from explorer.core.errors import AccessError
from explorer.core.times import now
from explorer.models.cache import data_directory

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_LINKS = 200


@dataclass(frozen=True)
class Share:
    """A read-only link."""

    hash: str
    title: str
    findings: tuple[str, ...]
    made: str


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def access_file() -> Path:
    return data_directory() / "access.json"


def read() -> dict[str, Any]:
    try:
        found = json.loads(access_file().read_text())
        return found if isinstance(found, dict) else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise AccessError(
            f"{access_file()} cannot be read ({error}). Move it away; then a new token is made."
        ) from error


def change(**parts: Any) -> None:
    """Replace parts of the file; whole, or not at all."""
    path = access_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=10):
            fresh = path.with_suffix(".new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(json.dumps(read() | parts, indent=1))
            fresh.replace(path)
    except OSError as error:
        raise AccessError(
            f"{path} cannot be written ({error}), so no token can be kept. The app stays on this machine."
        ) from error


def new_token() -> str:
    """A token in place of the one before; it is not shown again."""
    token = secrets.token_urlsafe(32)
    change(token={"hash": hashed(token), "made": now()})
    return token


def token_made() -> str:
    """When the token was made; empty where there is none."""
    return str(read().get("token", {}).get("made", ""))


def admits(token: str) -> bool:
    kept = str(read().get("token", {}).get("hash", ""))
    return bool(kept) and hmac.compare_digest(kept, hashed(token.strip()))


def share(findings: Sequence[str], title: str) -> str:
    """The secret of a new read-only link; it is not shown again."""
    links = shares()
    if len(links) >= MOST_LINKS:
        raise AccessError(f"There are {len(links)} read-only links; withdraw some first.")
    secret = secrets.token_urlsafe(24)
    made = Share(hashed(secret), title[:200], tuple(findings), now())
    keep_links([*links, made])
    return secret


def shares() -> list[Share]:
    return [
        Share(str(row["hash"]), str(row["title"]), tuple(map(str, row["findings"])), str(row["made"]))
        for row in read().get("shares", ())
    ]


def shared(secret: str) -> Share | None:
    """The link of a secret; None where there is none, or it was withdrawn."""
    wanted = hashed(secret)
    return next((link for link in shares() if hmac.compare_digest(link.hash, wanted)), None)


def withdraw(link: Share) -> None:
    keep_links([other for other in shares() if other.hash != link.hash])


def keep_links(links: Sequence[Share]) -> None:
    change(shares=[asdict(link) for link in links])
