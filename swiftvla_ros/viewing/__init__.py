# SPDX-License-Identifier: Apache-2.0
"""What happened in a run, for people: summaries, pictures, films."""
