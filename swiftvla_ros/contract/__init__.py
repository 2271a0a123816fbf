# SPDX-License-Identifier: Apache-2.0
"""What robot and policy agree on: joints, cameras, units, limits, rates, gripper, outputs."""

from swiftvla_ros.contract.action_coding import ACTION_KINDS, ActionCoding
from swiftvla_ros.contract.contract import Contract, Limits
from swiftvla_ros.contract.load import ContractError, contract_from_text, load_contract, load_robot
from swiftvla_ros.contract.schema import Camera, CameraPose, Joint

__all__ = [
    "ACTION_KINDS",
    "ActionCoding",
    "Camera",
    "CameraPose",
    "Contract",
    "ContractError",
    "Joint",
    "Limits",
    "contract_from_text",
    "load_contract",
    "load_robot",
]
