"""Worker processes: they take calls for one engine process, which batches the images of all of them.

A worker has a data link to the engine (messages.py: images there, answers and descriptions of models back) and a control link
(control.py: settings, readiness, metrics, draining). Both are Unix socket pairs that the engine made (pool.py,
worker_process.py); their far ends are in worker.py, remote_backend.py (what a worker has in the place of a batcher) and
worker_connection.py (one worker as the engine serves it).
"""
