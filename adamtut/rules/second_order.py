"""Rules with an estimate of curvature: the chapter second_order."""
