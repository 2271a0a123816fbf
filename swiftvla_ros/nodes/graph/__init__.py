# SPDX-License-Identifier: Apache-2.0
"""What listens to a whole running graph and takes no part in it."""
