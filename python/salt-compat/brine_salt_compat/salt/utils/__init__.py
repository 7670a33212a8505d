"""Salt's utilities, of which there is ``event``."""
