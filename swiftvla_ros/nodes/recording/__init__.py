# SPDX-License-Identifier: Apache-2.0
"""What records: topics as they come, episodes, and what is said of a session."""
