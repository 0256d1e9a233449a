"""The small drawn world of the pocket Wan: what it was trained on, and what the demo's references are drawn of."""
