"""One infinite procedural place with known truth: ground, streets, buildings, trees; crops, distances, pictures."""
