# SPDX-License-Identifier: Apache-2.0
"""What the environment and a Fast DDS profile say of the transport, as Fast DDS itself reads them."""

from pathlib import Path

import pytest

from swiftvla_ros.preflight.transport import Profile, discovery_range, ipv4_addresses, read_profile, read_transport


def test_the_shipped_profiles(repository: Path) -> None:
    """Segment and lease come from the files that the processes run with, under either name of the variable."""
    shm, udp = (repository / "config" / name for name in ("fastdds_shm.xml", "fastdds_udp.xml"))
    assert read_profile({"FASTDDS_DEFAULT_PROFILES_FILE": str(shm)}) == Profile(shm, "", 32 << 20, 10.0, 1.0)
    assert read_profile({"FASTRTPS_DEFAULT_PROFILES_FILE": str(udp)}) == Profile(udp, "", None, 10.0, 1.0)


@pytest.mark.parametrize("text", ["", "<dds>", "no XML", "\x00"])
def test_a_profile_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    """Fast DDS goes on with its defaults, so these are what counts; the file is named."""
    path = tmp_path / "profile.xml"
    path.write_text(text)
    for name in (path, tmp_path / "missing.xml", tmp_path):
        profile = read_profile({"FASTDDS_DEFAULT_PROFILES_FILE": str(name)})
        assert (profile.segment_bytes, profile.lease_s) == (512 * 1024, 20.0)
        assert str(name) in profile.problem


@pytest.mark.parametrize(
    ("lease", "seconds"),
    [("<sec>3</sec><nanosec>500000000</nanosec>", 3.5), ("<sec>DURATION_INFINITY</sec>", None), ("<sec>x</sec>", 20.0)],
)
def test_leases_of_others_profiles(tmp_path: Path, lease: str, seconds: float | None) -> None:
    """A profile without transports has the built-in ones; a lease may be endless."""
    path = tmp_path / "profile.xml"
    path.write_text(
        f"<profiles><participant><rtps><leaseDuration>{lease}</leaseDuration></rtps></participant></profiles>"
    )
    profile = read_profile({"FASTDDS_DEFAULT_PROFILES_FILE": str(path)})
    assert (profile.lease_s, profile.announcement_s, profile.segment_bytes) == (seconds, 3.0, 512 * 1024)


def test_environment() -> None:
    """The domain and the range that hold, and whether others can be reached."""
    here = read_transport({"ROS_DOMAIN_ID": "", "ROS_LOCALHOST_ONLY": "1"})
    assert (here.domain, here.discovery_range, here.local) == ("0", "LOCALHOST", True)
    assert discovery_range({"ROS_AUTOMATIC_DISCOVERY_RANGE": "off"}) == "OFF"
    assert not read_transport({}).local
    assert "127.0.0.1" in ipv4_addresses()
