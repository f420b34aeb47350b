"""Other versions of the model, while the server answers.

Where versions lie (source.py), one of them opened, warmed and tried beside the served one (loading.py, canary.py), and who
decides which is served: the VersionManager (manager.py). Whatever goes wrong before the swap leaves the served one as it is.
"""
