"""Charts as SVG: a file each. Colours come from the page's style, by class."""
