"""Where rows go: one module for each kind of target."""
