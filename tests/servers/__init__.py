"""Real servers for the tests: started on loopback from a folder of their own, stopped at the end."""
