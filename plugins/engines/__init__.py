"""What moves the pixels of a plan: DALI's own operators, or one compiled pass, on the CPU or the GPU."""
