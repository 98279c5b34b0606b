"""Prompt files on the page: load one, and save what is on the page as one."""
