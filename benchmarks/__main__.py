"""python -m benchmarks: how long one optimiser step takes (see benchmarks.step)."""

from benchmarks.step import main

main()
