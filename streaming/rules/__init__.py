"""Decisions: pure functions and values. No asyncio, no clock, no randomness, no input or output."""
