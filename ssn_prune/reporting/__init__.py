"""Reports: a run's JSON becomes a view, and the view a page, a table or a picture."""
