# SPDX-License-Identifier: Apache-2.0
"""Lets a dataset's ``swiftvla.*`` columns pass through LeRobot's processor pipelines to the policy."""

from __future__ import annotations

from typing import Any

from lerobot.processor import converters

from swiftvla_ros.training.importers.lerobot_columns import PREFIX

_KEEPS = "_extract_complementary_data"


def keep_columns() -> None:
    """Make LeRobot keep the columns, in every pipeline, also in one that it loads from a folder.

    LeRobot's converter from a batch knows observations, actions and a fixed list of other names, and drops the rest
    (0.4.4 and 0.6.1). A converter of one's own can be given to a pipeline that is made, but not to one that
    ``lerobot-train`` loads to resume. What is kept besides does nothing to other policies.
    """
    inner = getattr(converters, _KEEPS, None)
    if inner is None:
        raise ImportError(
            f"this LeRobot has no lerobot.processor.converters.{_KEEPS}, through which labels reach the policy; "
            "install one of the versions that lerobot_policy_swiftvla names"
        )
    if getattr(inner, "keeps", None) == PREFIX:
        return

    def extract(batch: dict[str, Any]) -> dict[str, Any]:
        return {**inner(batch), **{name: value for name, value in batch.items() if name.startswith(PREFIX)}}

    extract.keeps = PREFIX  # type: ignore[attr-defined]
    setattr(converters, _KEEPS, extract)
