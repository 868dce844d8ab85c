"""Structure from motion: photographs without poses become a capture. pycolmap runs in a child process."""
