# SPDX-License-Identifier: Apache-2.0
"""The rclpy shells: one file a node, thin; each one's docstring says which thread touches what."""
