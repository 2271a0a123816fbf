# SPDX-License-Identifier: Apache-2.0
"""The keys of a contract for a camera that this package drives: which device it is, and how it is set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from swiftvla_ros.contract.base import Finite, Strict

Path = Annotated[str, Field(min_length=1, max_length=500)]
# What a camera's own scale has: V4L2 controls are 32 bit wide.
OwnScale = Annotated[int, Field(ge=0, le=2**31 - 1)]


class CameraDriver(Strict):
    """The device behind a camera of the contract, or a film in its place, and what is locked."""

    device: Path | None = Field(
        default=None, description="a path that stays, such as `/dev/v4l/by-id/…`: `swiftvla cameras` lists them"
    )
    film: Path | None = Field(
        default=None,
        description="instead of `device`, a film that is played in real time (`.mjpeg`, `.mp4`); relative to the "
        "contract",
    )
    repeat: bool = Field(default=False, description="of `film`: play it again and again")
    format: Literal["mjpeg", "yuyv"] = Field(
        "mjpeg", description="what the camera sends: JPEGs, which are passed on as they are, or raw pixels"
    )
    exposure_ms: Annotated[Finite, Field(ge=0.1, le=1000)] | None = Field(
        default=None, description="exposure, locked, ms; left out, the camera chooses"
    )
    white_balance_k: Annotated[Finite, Field(ge=1000, le=20000)] | None = Field(
        default=None, description="white balance, locked at this colour temperature, K; left out, the camera chooses"
    )
    focus: OwnScale | None = Field(
        default=None, description="focus, locked, on the camera's own scale; left out, the camera chooses"
    )
    gain: OwnScale | None = Field(default=None, description="gain, on the camera's own scale; left out, as it is")

    @model_validator(mode="after")
    def _one_source(self) -> CameraDriver:
        if (self.device is None) == (self.film is None):
            raise ValueError("write either 'device', the path of a camera, or 'film', that of a film in its place")
        if self.repeat and self.film is None:
            raise ValueError("repeat: a device has no end; remove it")
        return self
