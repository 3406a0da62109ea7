"""What moves the pixels of a plan and normalises them.

`engine` says what an engine is, `registry` which there are, and `self_check` tries one before it is used. The engines:
`native`, DALI's own operators; `cpu`, compiled code on the CPU; `cuda`, compiled code on the GPU.
"""
