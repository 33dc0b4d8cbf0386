"""Charts as SVG, one file each. Colours come from the style sheet of the page, by class."""
