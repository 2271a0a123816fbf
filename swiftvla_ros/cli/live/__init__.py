# SPDX-License-Identifier: Apache-2.0
"""What several commands share that start, watch or speak to a live graph."""
