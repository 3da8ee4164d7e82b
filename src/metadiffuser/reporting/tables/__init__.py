"""The tables: each a function from ``Evidence`` or ``Timings`` to a ``Table``, found by ``reporting.registry``."""
