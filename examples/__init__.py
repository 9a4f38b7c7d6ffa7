"""Example services and the demo: files to read, that tests run and type checkers check."""
