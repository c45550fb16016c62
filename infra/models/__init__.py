"""Where models come from: directories, the registry of embedded models, and the hub."""
