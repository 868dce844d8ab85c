"""The backends: reference (plain torch), cpu (compiled C++), gsplat (CUDA)."""
