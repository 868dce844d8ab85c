"""One scene: captures, cameras, Gaussians, files, training, metrics.

Knows nothing of blocks, workers, the web or the command line.
"""
