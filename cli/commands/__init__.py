"""The signature of each command: options and their help; what it does is in the module above."""
