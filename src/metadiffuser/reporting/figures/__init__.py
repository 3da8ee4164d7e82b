"""The figures: each a function from ``Evidence`` or ``Timings`` to a ``Drawing``, found by ``reporting.registry``."""
