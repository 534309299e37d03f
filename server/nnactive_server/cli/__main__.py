"""`python -m nnactive_server.cli`, where the console script is not on the path."""

from nnactive_server.cli import main

main()
