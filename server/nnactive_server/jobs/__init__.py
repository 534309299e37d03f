"""Long work (jobs) and short work (tasks) of a server, each in a process of its own."""
