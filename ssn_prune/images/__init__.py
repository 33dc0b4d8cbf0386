"""Images on which networks are measured: folders, zip files, arrays and the user's own loaders."""
