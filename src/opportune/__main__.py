"""`python -m opportune` is the command `opportune`."""

from opportune.command import main

if __name__ == "__main__":
    main()
