"""One module per verb: it reads its arguments and the settings, calls a room below, and prints what came of it."""
