"""Access: tokens are kept hashed, admit whoever has them and nobody else, and read-only links can be withdrawn."""

import json
import stat

import pytest

from explorer import access
from explorer.commands import tell_token
from explorer.core.errors import AccessError
from explorer.serve import options

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_a_token_admits_and_its_file_does_not_tell_it(own_folder) -> None:
    assert not access.token_made() and not access.admits("") and not access.admits("anything")
    token = access.new_token()
    text = access.access_file().read_text()
    assert len(token) >= 40 and token not in text and access.hashed(token) in text
    assert stat.S_IMODE(access.access_file().stat().st_mode) == 0o600
    assert (
        access.admits(token)
        and access.admits(f" {token}\n")
        and not access.admits(token[:-1])
        and not access.admits(access.hashed(token))
    )
    other = access.new_token()
    assert access.admits(other) and not access.admits(token)


def test_the_token_is_shown_once(capsys) -> None:
    tell_token(False)
    token = capsys.readouterr().out.split()[-1]
    tell_token(False)
    again = capsys.readouterr().out
    assert access.admits(token) and token not in again and access.token_made() in again
    tell_token(True)
    assert not access.admits(token)


def test_links_open_their_findings_until_they_are_withdrawn() -> None:
    token = access.new_token()
    secret = access.share(("a1", "b2"), "A talk")
    link = access.shared(secret)
    assert link is not None and link.findings == ("a1", "b2") and link.title == "A talk"
    assert secret not in access.access_file().read_text()
    assert access.shared("no such") is None and not access.admits(secret) and access.admits(token)
    other = access.share(("c3",), "Another")
    access.withdraw(link)
    assert access.shared(secret) is None and access.shared(other) is not None


def test_there_is_an_end_to_links(monkeypatch) -> None:
    monkeypatch.setattr(access, "MOST_LINKS", 2)
    for _ in range(2):
        access.share((), "t")
    with pytest.raises(AccessError, match="withdraw some"):
        access.share((), "t")


def test_a_damaged_file_is_named_and_admits_nobody() -> None:
    access.new_token()
    access.access_file().write_text("{ no json")
    with pytest.raises(AccessError, match="cannot be read"):
        access.admits("anything")


def test_a_file_that_cannot_be_written_makes_no_token(own_folder) -> None:
    own_folder.parent.mkdir(exist_ok=True)
    own_folder.write_text("a file where the folder should be")
    with pytest.raises(AccessError, match="cannot be written"):
        access.new_token()


def test_only_this_machine_unless_asked() -> None:
    assert options("127.0.0.1", 1)["server_allowedHosts"] == ["127.0.0.1", "localhost"]
    assert json.dumps(access.LOOPBACK) == '["127.0.0.1", "localhost", "::1"]'
