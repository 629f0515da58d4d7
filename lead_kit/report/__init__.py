"""Numbers into what people read: curves, tables, figures, comparisons."""
