"""Front processes: they take calls for one engine process, which batches the images of all of them.

A front has a data link to the engine (messages.py: images there, answers back) and a control link (control.py: settings,
readiness, metrics, draining). Both are Unix socket pairs that the engine made (supervisor.py, child.py); their far ends are in
front.py, remote.py (what a front has in the place of a batcher) and desk.py (who serves one front in the engine).
"""
