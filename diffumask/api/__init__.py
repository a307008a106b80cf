"""The use cases: what a user can ask for, each an options class and a function in one file.

The commands of `cli` and the functions of `import diffumask` are both made from these. Nothing
heavy is imported before a use case runs.
"""
