"""Many blocks of one large scene: the layer between one scene and the people who drive it."""
