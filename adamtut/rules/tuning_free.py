"""Rules that set their own rate, or need no schedule: the chapter tuning_free."""
