"""The domain of classifiers: labelled images in, logits out, one task after the other.

Importing this imports no torch: options are read before anything heavy is loaded.
"""

__all__: list[str] = []
