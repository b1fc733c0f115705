"""Planted bugs, one patch each, and the hunt for them: what proves that the test kit finds something."""
