"""Image files as balenaOS builds them, from public facts: made here, cached, and looked into."""
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent.parent.parent.parent
# What the virtual device and the lab are made of, images are made of too.
for _folder in ("tests/device", "tests/lab", "tests/integration/tool"):
    if str(SOURCE / _folder) not in sys.path:
        sys.path.append(str(SOURCE / _folder))
