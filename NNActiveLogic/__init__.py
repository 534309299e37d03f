"""What the Slicer module is made of below its widgets: no Qt, no torch."""
