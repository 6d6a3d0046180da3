"""python -m hetsearch."""

from hetsearch.cli import main

main()
