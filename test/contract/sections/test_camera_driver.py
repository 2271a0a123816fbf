# SPDX-License-Identifier: Apache-2.0
"""What a contract says of this package's own drivers."""

from pathlib import Path

import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.load import ContractError, contract_from_text
from swiftvla_ros.contract.sections.camera_driver import CameraDriver


def with_cameras(contract: Contract, cameras: str) -> Contract:
    """The contract with a ``drivers.cameras`` section."""
    return contract_from_text(f"{contract.text}\ndrivers: {{cameras: {{{cameras}}}}}\n", contract.path)


def test_a_camera_has_a_device_or_a_film(contract: Contract) -> None:
    """Protects what users write: a stable path with what is locked; nothing where others drive."""
    read = with_cameras(contract, "front: {device: /dev/v4l/by-id/usb-cam, exposure_ms: 10, white_balance_k: 4500}")
    written = {"device": "/dev/v4l/by-id/usb-cam", "exposure_ms": 10, "white_balance_k": 4500}
    driver = read.drivers.cameras["front"]
    assert isinstance(driver, CameraDriver)
    assert {key: getattr(driver, key) for key in written} == written
    assert driver.format == "mjpeg"
    assert contract.drivers.cameras == {}


@pytest.mark.parametrize(
    ("cameras", "said"),
    [
        ("frnt: {device: /dev/video0}", "did you mean 'front'"),
        ("front: {}", "write either 'device'"),
        ("front: {device: /dev/video0, film: a.mjpeg}", "write either 'device'"),
        ("front: {device: /dev/video0, repeat: true}", "repeat: a device has no end"),
        ("front: {device: /dev/video0, exposure_ms: 0.01}", "exposure_ms"),
    ],
)
def test_what_makes_no_camera_is_refused(contract: Contract, cameras: str, said: str) -> None:
    """Protects from a driver that starts with half of what was meant: key and fix are named."""
    with pytest.raises(ContractError, match=said):
        with_cameras(contract, cameras)


def test_the_path_names_the_file(contract: Contract, tmp_path: Path) -> None:
    """Protects error sentences: they say in which file the key stands."""
    with pytest.raises(ContractError, match=str(tmp_path / "arm.yaml")):
        contract_from_text(contract.text + "\ndrivers: {cameras: {wrst: {film: a.mp4}}}\n", tmp_path / "arm.yaml")
