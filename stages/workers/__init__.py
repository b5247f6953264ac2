"""Processes beside this one: workers that end with their run, and children that decode."""
