"""``python -m streaming.cli``: the same as ``streaming``, where that is not on the path."""

from streaming.cli import main

if __name__ == "__main__":
    main()
