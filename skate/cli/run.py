"""`skate run`: a program as `__main__` of this process, with `import ray` meaning skate.

The program must not be able to tell the difference from `python SCRIPT`: `sys.argv`, `sys.path[0]`, `__file__` and
`__spec__` are as there; a traceback begins in the program; the exit code is the same. So this does what the interpreter
does, and does not use `runpy`, which takes the module away when the code has ended: threads and exit handlers of the
program still need it then, and so does pickle.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import io
import os
import pkgutil
import sys
from dataclasses import dataclass
from types import CodeType, ModuleType, TracebackType
from typing import Any

EXIT_INTERRUPTED = 130
"""What a shell reports for a program that Ctrl-C has ended: 128 + SIGINT."""


class NotFound(Exception):
    """There is no such program; the message says what was looked for."""


@dataclass(slots=True)
class Program:
    """What to run as `__main__`.

    Attributes:
        argv: `sys.argv` of the program. A module's `argv[0]` is replaced by its file once that is known.
        path: what `sys.path[0]` is while it runs.
        file: the source or bytecode file; "" when `module` is given.
        module: the name of the module to run, as for `python -m`; "" when `file` is given.
    """

    argv: list[str]
    path: str
    file: str = ""
    module: str = ""


def find_script(script: str, args: list[str]) -> Program:
    """The program in a file, or in a folder or zip file that has a `__main__`.

    Raises:
        NotFound: there is no such file, or the folder has no `__main__`.
    """
    full = os.path.abspath(script)
    argv = [script, *args]
    if not os.path.exists(full):
        raise NotFound(
            f"there is no file {script!r} (looked for {full}). Give the path of a Python program, or -m and a module."
        )
    if os.path.isdir(full) or _is_zip(full):
        if importlib.machinery.PathFinder.find_spec("__main__", [full]) is None:
            raise NotFound(f"{script!r} has no __main__.py to run. Give the file to run.")
        return Program(argv, full, module="__main__")
    return Program(argv, os.path.dirname(os.path.realpath(full)), file=full)


def find_module(name: str, args: list[str]) -> Program:
    """The program in a module, as for `python -m`. Whether it exists is known once `sys.path` is set."""
    return Program([name, *args], os.getcwd(), module=name)


def execute(program: Program) -> int:
    """Run the program; returns the exit code.

    Raises:
        SystemExit: the program's own.
    """
    _set_path(program.path)
    sys.argv[:] = program.argv
    from ..api.alias import install_as_ray

    install_as_ray()
    try:
        code = _prepare(program)
    except NotFound as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    except Exception as error:
        return _report(error, _of_the_program(error))
    return _run(code, sys.modules["__main__"].__dict__)


def _run(code: CodeType, names: dict[str, Any]) -> int:
    try:
        exec(code, names)
    except SystemExit:
        raise
    except BaseException as error:
        trace = error.__traceback__
        return _report(error, trace.tb_next if trace is not None else None)  # without this frame
    return 0


def _report(error: BaseException, trace: TracebackType | None) -> int:
    error.__traceback__ = trace
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace  # as Python does
    sys.excepthook(type(error), error, trace)
    return EXIT_INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def _of_the_program(error: BaseException) -> TracebackType | None:
    """The traceback from the first frame on that is neither ours nor the import system's."""
    trace = error.__traceback__
    while trace is not None and (
        trace.tb_frame.f_code.co_filename == __file__ or "importlib" in trace.tb_frame.f_code.co_filename
    ):
        trace = trace.tb_next
    return trace


def _prepare(program: Program) -> CodeType:
    """Put the program's module in place as `__main__`; returns its code."""
    if program.module:
        return _prepare_module(program)
    code = _read_code(program.file)
    module = _new_main(program.file)
    module.__loader__ = importlib.machinery.SourceFileLoader("__main__", program.file)
    module.__package__ = None
    sys.modules["__main__"] = module
    return code


def _prepare_module(program: Program) -> CodeType:
    # A folder's `__main__` is looked for in the folder itself: `sys.modules` has another `__main__`, ours.
    if program.module == "__main__":
        spec = importlib.machinery.PathFinder.find_spec("__main__", [program.path])
    else:
        spec = _module_spec(program.module)
    get_code = getattr(spec.loader, "get_code", None) if spec is not None else None
    code: CodeType | None = get_code(spec.name) if spec is not None and get_code is not None else None
    if spec is None or code is None:
        raise NotFound(f"there is no module {program.module!r} with Python code in sys.path.")
    if program.module != "__main__":
        sys.argv[0] = spec.origin or program.module
    module = _new_main(spec.origin)
    module.__loader__, module.__spec__, module.__package__ = spec.loader, spec, spec.parent
    sys.modules["__main__"] = module
    return code


def _module_spec(name: str) -> importlib.machinery.ModuleSpec | None:
    """The module's spec; a package's is that of its `__main__`."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name and (name + ".").startswith(error.name + "."):  # a missing parent, not an import inside it
            return None
        raise
    if spec is not None and spec.submodule_search_locations is not None:
        return importlib.util.find_spec(name + ".__main__")
    return spec


def _new_main(file: str | None) -> ModuleType:
    module = ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __file__=file, __cached__=None, __annotations__={})
    return module


def _read_code(file: str) -> CodeType:
    with io.open_code(file) as stream:
        code: CodeType | None = pkgutil.read_code(stream)
    if code is not None:
        return code
    with io.open_code(file) as stream:
        source = stream.read()
    compiled: CodeType = compile(source, file, "exec", dont_inherit=True)
    return compiled


def _is_zip(file: str) -> bool:
    import zipfile

    return file.endswith((".zip", ".pyz")) and zipfile.is_zipfile(file)


def _set_path(first: str) -> None:
    """Replace what the interpreter put in front of `sys.path` for the command `skate` itself."""
    if sys.flags.safe_path:
        return
    sys.path[0] = first
