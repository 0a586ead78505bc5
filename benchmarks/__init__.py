"""xpnn against other libraries and against the matrix products alone: ``python -m benchmarks``.

============== ======================================================================
workloads/     what is measured: shapes, data, initial weights; one file a kind of work
competitors/   who does it: one file a library
worker.py      the process that a competitor lives in
process.py     the parent's end of it
agreement.py   all compute the same, before anything is timed
driver.py      slices of work, round by round, each competitor in turn
alone.py       what needs fresh processes: start, peak memory, kernel launches
report.py      results for the terminal and as Markdown
============== ======================================================================

To add a competitor, write a class like those in ``competitors/`` and name it in
``competitors/__init__.py``. It needs a method for each kind of work that it can do, which returns
a `Task`; kinds that it has no method for are left out of its rows.
"""
