"""What is taken, and who is next: admission by predictions of the engine's time, limits of one caller, the queue, and turns."""
