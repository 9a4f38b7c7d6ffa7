"""The demo: core and poller as separate processes, and what can happen to their identities."""
