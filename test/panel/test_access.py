# SPDX-License-Identifier: Apache-2.0
"""Addresses, tokens and names that are let in."""

import pytest

from swiftvla_ros.panel.access import Access, PageAddress, new_token, read_token


@pytest.mark.parametrize(
    "text", ["", "8710", "example.org:80", "127.0.0.1", "1.2.3.4:99999", "a@127.0.0.1:1", "::1:80"]
)
def test_an_address_is_a_number_and_a_port(text):
    """A name could mean another machine tomorrow; the sentence shows what to write."""
    with pytest.raises(ValueError, match=r"such as 127\.0\.0\.1:8710"):
        PageAddress.parse(text)


def test_loopback_needs_no_token_and_everything_else_does():
    """There is no way to serve others without one."""
    assert not Access(PageAddress.parse("127.0.0.1:1"), "").needs_token
    assert not Access(PageAddress.parse("[::1]:1"), "").needs_token
    with pytest.raises(ValueError, match="there is no token"):
        Access(PageAddress.parse("0.0.0.0:1"), "")
    assert len(new_token()) >= 43, "32 bytes"


def test_names_of_other_machines_are_refused():
    """By number or by this machine's name; on loopback only by loopback's."""
    here, everywhere = Access(PageAddress.parse("127.0.0.1:1"), ""), Access(PageAddress.parse("0.0.0.0:1"), new_token())
    assert here.host_is_ours("localhost:9000")
    assert here.host_is_ours("[::1]:9000")
    assert not here.host_is_ours("192.168.1.5:1")
    assert everywhere.host_is_ours("192.168.1.5:1")
    assert not everywhere.host_is_ours("rebound.example:1")
    assert not everywhere.host_is_ours("")


def test_a_token_file_is_private_and_holds_a_token(tmp_path):
    """What others can read, or what is no token, is refused with the fix."""
    file = tmp_path / "token"
    file.write_text("0123456789abcdef0123\n")
    file.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        read_token(file)
    file.chmod(0o600)
    assert read_token(file) == "0123456789abcdef0123"
    file.write_text("short")
    with pytest.raises(ValueError, match="holds no token"):
        read_token(file)
