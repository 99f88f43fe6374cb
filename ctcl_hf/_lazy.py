"""Names that are imported when they are first used, so that asking for help need not wait for
torch.
"""

import ast
import importlib
import importlib.util
import sys
from collections import UserDict
from collections.abc import Callable, Mapping
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


def lazy_names(
    package: str, home: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose public names live in its modules: {name:
    module}.
    """

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f".{home[name]}", package), name)

    return get, lambda: sorted({*vars(sys.modules[package]), *home})


class LazyDict(UserDict[str, Value], Generic[Value]):
    """A dict of {key: "module:name" of a package, or the object itself}, each imported when it is
    asked for.
    """

    def __init__(self, package: str, values: Mapping[str, str | Value]):
        self.package = package
        super().__init__(values)

    def __getitem__(self, key: str) -> Value:
        value = super().__getitem__(key)
        if isinstance(value, str):
            module, name = value.split(":")
            value = self[key] = getattr(importlib.import_module(f".{module}", self.package), name)
        return value


def class_alone(package: str, module: str, name: str) -> type:
    """A class of a package's module without running the module: its statement, and the imports of
    what that names.

    ValueError if the module has no such class; NameError if the class needs what the module does
    not import.
    """
    spec = importlib.util.find_spec(f".{module}", package)
    statements = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    found = [node for node in statements if isinstance(node, ast.ClassDef) and node.name == name]
    if not found:
        raise ValueError(f"{spec.origin} has no class {name}.")
    used = {node.id for node in ast.walk(found[0]) if isinstance(node, ast.Name)}
    imports = [
        node
        for node in statements
        if isinstance(node, (ast.Import, ast.ImportFrom))
        and used & {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    ]
    namespace: dict[str, Any] = {"__name__": spec.name, "__package__": package}
    exec(compile(ast.Module([*imports, found[0]], type_ignores=[]), spec.origin, "exec"), namespace)
    return namespace[name]


class AfterImport(MetaPathFinder):
    """Calls a function right after a module has been imported, whoever imports it; at once if it
    has been already.

    An import that fails, of the module or in the function, leaves the hook in place for the next
    one. What the function imports may import the module in turn: it is complete by then.
    """

    def __init__(self, module: str, then: Callable[[], Any]):
        self.module, self.then = module, then
        if module in sys.modules:
            then()
        else:
            sys.meta_path.insert(0, self)

    def find_spec(self, name, path=None, target=None):
        if name != self.module:
            return None
        found = (
            finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self
        )
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module) -> None:
            execute(module)
            self.then()
            if self in sys.meta_path:
                sys.meta_path.remove(self)

        spec.loader.exec_module = exec_module
        return spec
