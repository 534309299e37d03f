"""Values and small tools that every room shares; imports nothing of the other rooms."""
