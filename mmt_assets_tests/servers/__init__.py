"""Servers that tests talk to over sockets, each in a process of its own, and the fixtures that start them."""
