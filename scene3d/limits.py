"""Owns every bound on untrusted input; nothing else in the program decides how large a file may claim to be."""

MAX_IMAGE_PIXELS = 64_000_000
MAX_PLY_HEADER_BYTES = 64 * 1024
MAX_PLY_VERTICES = 100_000_000
MAX_NONFINITE_SHARE = 0.01
MAX_JSON_BYTES = 16 * 1024 * 1024
MAX_JSON_DEPTH = 32
MAX_VIEWS = 1_000_000
MAX_POINTS = 100_000_000
MAX_NAME_BYTES = 255
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
