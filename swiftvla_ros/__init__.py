# SPDX-License-Identifier: Apache-2.0
"""A SwiftVLA robot policy on ROS 2: cameras and joints in, a limited smooth joint trajectory out.

docs/architecture.md maps the rooms of the package; ``test/test_rooms.py`` holds what each may import.
"""

from pkgutil import extend_path

# A checkout on sys.path shadows the installed package, which alone may hold the generated msg, srv and action modules.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
