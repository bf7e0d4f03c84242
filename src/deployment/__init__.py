"""What every process of a deployment shares: settings, clock, pseudonyms, key names, the archive, a Redis to try on.

Above `behavior`, below everything else: a room of this package knows nothing of training or scoring.
"""
