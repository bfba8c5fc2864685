"""Other systems doing the same work, each in a process of its own in the environment of requirements.txt."""
