"""Rules that change a line of Adam: the chapter first_cousins."""
