"""edge-qc: visual inspection on the device beside the line."""

import os
from importlib.metadata import PackageNotFoundError, version

# OpenCV reads this once, when it loads: a picture with more pixels is refused before it is decoded.
MAX_PICTURE_PIXELS = 50_000_000
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PICTURE_PIXELS)

try:
    __version__ = version("edge-qc")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+source"
