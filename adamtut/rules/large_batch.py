"""Rules that scale each layer's step: the chapter large_batch."""
