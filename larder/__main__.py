"""`python -m larder`."""

from larder.cli import main

main()
