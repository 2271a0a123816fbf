# SPDX-License-Identifier: Apache-2.0
"""What is wrong with demonstrations before anybody trains on them: findings with a number and what to do."""
