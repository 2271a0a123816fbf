# SPDX-License-Identifier: Apache-2.0
"""What robot and policy agree on: joints, cameras, units, limits, rates, gripper, outputs."""

from swiftvla_ros.contract.action_coding import ACTION_KINDS, absolute_rows, relative_rows
from swiftvla_ros.contract.contract import Contract, Limits
from swiftvla_ros.contract.load import ContractError, contract_from_text, load_contract
from swiftvla_ros.contract.schema import Camera, CameraPose, Joint

__all__ = [
    "ACTION_KINDS",
    "Camera",
    "CameraPose",
    "Contract",
    "ContractError",
    "Joint",
    "Limits",
    "absolute_rows",
    "contract_from_text",
    "load_contract",
    "relative_rows",
]
