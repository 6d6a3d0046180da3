"""Compatibility-aware architecture search: supernet, rewards, search under a budget."""
