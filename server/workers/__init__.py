"""Worker processes: they take calls for one engine process, which batches the images of all of them.

A worker has a data link to the engine (messages.py: images there, answers back) and a control link (control.py: settings,
readiness, metrics, draining). Both are Unix socket pairs that the engine made (supervisor.py, child.py); their far ends are in
worker.py, remote.py (what a worker has in the place of a batcher) and desk.py (who serves one worker in the engine).
"""
