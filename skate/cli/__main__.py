"""`python -m skate.cli` is the command `skate`."""

from .main import main

main()
