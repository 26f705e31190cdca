"""What pytest needs to know about tests and notebook cells alike."""

import pytest


def pytest_collection_modifyitems(items):
    """Give notebook cells the markers of their tags; skip what needs a missing GPU."""
    for item in items:
        tags = getattr(item, "cell", {}).get("metadata", {}).get("tags", [])
        for tag in {"gpu", "slow"} & set(tags):
            item.add_marker(tag)
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if not wanting:
        return
    import torch  # two seconds: only where a test asks for a GPU

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
