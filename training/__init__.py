"""How the embedded models are made and measured: run from a checkout; nothing of it is in the installed package."""
