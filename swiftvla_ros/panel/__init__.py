# SPDX-License-Identifier: Apache-2.0
"""The operator's page and its server, without ROS: what it shows, who may do what, and the way between the two."""
