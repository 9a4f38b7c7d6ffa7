"""What core and poller share: the platform's messages and method names, and one log format."""
