"""Images to measure a network on: from folders, zip files, arrays, and the user's own loaders."""
