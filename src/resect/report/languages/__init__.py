"""A run of LAPE, as people read it: what its files hold, made sound, and what that says, for a page and for a terminal."""
