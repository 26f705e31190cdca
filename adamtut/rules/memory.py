"""Rules with less state than Adam: the chapter memory."""
