# SPDX-License-Identifier: Apache-2.0
"""The ROS side of the operator's page: what is shown comes in, what is ordered goes out."""
