"""The stages, one file each: the rules that hold whichever engine does the work."""
