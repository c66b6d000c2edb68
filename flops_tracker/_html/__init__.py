"""Pages and fragments in HTML: what a browser or a notebook shows of a result."""
