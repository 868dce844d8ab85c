"""From a Gaussian scene to a signed distance field: rendered depth, fusion, exact distances, and a mesh."""
