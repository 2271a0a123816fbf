# SPDX-License-Identifier: Apache-2.0
"""rosbag2 bags: read, written, repaired, whatever state they are in."""
