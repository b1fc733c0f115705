"""What a shell offers when somebody presses the tab key behind ``streaming``.

The way from the key to the words is short: nothing of it imports the command line itself, which takes longer than
anybody likes to wait. The commands and options are read from a file that is made once for each version (`tree`).
"""
