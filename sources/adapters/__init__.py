"""One module a source, each declaring its ``ADAPTER``; :mod:`sources.registry` finds them."""
