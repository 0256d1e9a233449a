"""What holds for every test."""

import hypothesis

# A shared or busy machine takes its time: how long an example took says nothing about it.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")
