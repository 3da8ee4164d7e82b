"""One file a stage: reads the stage's inputs, calls the library, writes its outputs; nothing else."""
