# SPDX-License-Identifier: Apache-2.0
"""SwiftVLA as a policy of LeRobot; importing this registers it, and the environment of ``lerobot_env_swiftvla``."""

import lerobot_env_swiftvla  # noqa: F401  (LeRobot 0.4 imports no distribution of environments)
from lerobot_policy_swiftvla.columns import keep_columns
from lerobot_policy_swiftvla.configuration_swiftvla import SwiftVLAConfig
from lerobot_policy_swiftvla.processor_swiftvla import SwiftVLATokenizerStep

keep_columns()

__all__ = ["SwiftVLAConfig", "SwiftVLATokenizerStep"]
