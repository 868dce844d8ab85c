"""The plain torch backend: the oracle that the fast ones are compared with."""

from rasterizer.backends.reference.ops import ReferenceOps

__all__ = ["ReferenceOps"]
