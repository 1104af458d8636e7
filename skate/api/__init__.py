"""What users hold: remote functions, actors, options, the runtime context. It knows the runtime only by its protocol.

lifecycle   init, shutdown                 functions   RemoteFunction          mapping, chunk   f.map
context     what init returns              actors      classes, handles        executor         Executor
decorator   remote                         actor_info  what handles know       alias            install_as_ray
objects     get, put, wait, cancel, kill   options     the table of options    arity            checking arguments
cluster     nodes, resources
"""
