"""The command `opportune`: its verbs, and the supervisor that runs a whole deployment on one machine.

The top of the house. Verbs are thin and import the rooms below when they are called, never before.
"""
