"""When calls of models outside of tests begin to be refused: before the conftest files, when all options are known, or at a folder with cassettes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import iglob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.errors import UsageError
from pytest_llmops.harness.own_tests import has_cassettes
from pytest_llmops.settings import OPTIONS, Settings

if TYPE_CHECKING:
    from pytest_llmops.harness.closed_session import ClosedSession


class SessionCloser:
    """Puts the guard of a run in place as soon as it is known that the project uses the plugin and the run replays.

    Args:
        config: pytest's.
        read_ini: Returns the value of an ini key.
        usage_error: pytest's exception for a run that cannot go on.
        exit_error: pytest's exception that ends a run without a traceback.
    """

    def __init__(
        self,
        config: Any,
        read_ini: Callable[[str], Any],
        usage_error: type[Exception],
        exit_error: type[Exception],
    ) -> None:
        self._config = config
        self._read_ini = read_ini
        self._usage_error = usage_error
        self._exit_error = exit_error
        self._settings = Settings()
        self._guard: ClosedSession | None = None
        self._seen_folders: set[Path] = set()

    @contextmanager
    def close_early(self) -> Iterator[None]:
        """Refuse calls outside of tests before the conftest files are loaded, which happens in the block.

        Raises:
            pytest.UsageError: A conftest file called a model while it was imported.
        """
        settings = self._find_early_settings()
        if settings is None:
            yield
            return
        self._settings = settings
        if not self._refuses_calls():
            yield
            return
        with self.close().end_run_if_refused():
            yield

    def close_when_configured(self, settings: Settings, *, is_set_up: bool) -> None:
        """Refuse calls outside of tests from here on, now that all settings are known.

        Args:
            settings: The final settings. A conftest file may have chosen another mode of recording, in which calls are allowed.
            is_set_up: Whether the project or the command line has an option of ours.
        """
        self._settings = settings
        if self._guard is not None:
            self._guard.settings = settings
            if settings.record != "none":
                self._guard.open_connections()
        elif is_set_up and self._refuses_calls():
            self.close()

    def close_at_folder(self, path: Path) -> None:
        """Refuse calls outside of tests from here on, if a folder or module that is going to be collected has cassettes."""
        if self._guard is not None or not self._refuses_calls():
            return
        folder = path
        if path.suffix == ".py":
            folder = path.parent
        if folder in self._seen_folders:
            return
        self._seen_folders.add(folder)
        if has_cassettes(folder):
            self.close()

    def close(self) -> ClosedSession:
        """Return the guard of the run, put in place if it is not there yet."""
        if self._guard is None:
            from pytest_llmops.harness.closed_session import ClosedSession

            self._guard = ClosedSession(self._config, self._settings, self._usage_error, self._exit_error)
            self._guard.start()
        return self._guard

    def _refuses_calls(self) -> bool:
        """Return whether the run replays, and the project does not allow calls outside of tests."""
        return self._settings.record == "none" and self._settings.calls_outside_tests == "refuse"

    def _find_early_settings(self) -> Settings | None:
        """Return the settings before any conftest file is loaded; None if nothing shows that the project uses the plugin.

        A sign is an option of ours in the project or on the command line, or a cassette in a folder that pytest starts from. Wrong
        values give None too: they are reported when pytest is configured.
        """
        options = self._config.known_args_namespace
        command_line = {option.name: getattr(options, option.dest, None) for option in OPTIONS if option.flag}
        try:
            ini = {option.name: self._read_ini(option.dest) for option in OPTIONS if option.ini}
            values = [*command_line.values(), *ini.values()]
            if all(value is None for value in values) and not self._starts_at_cassettes():
                return None
            return Settings.from_sources(("command line", command_line), ("ini", ini), environ=os.environ)
        except (UsageError, self._usage_error):
            return None

    def _starts_at_cassettes(self) -> bool:
        """Return whether a folder from which pytest loads conftest files at once has cassettes."""
        here = self._config.invocation_params.dir
        arguments = getattr(self._config.known_args_namespace, "file_or_dir", None)
        if not arguments:
            arguments = []
            for pattern in self._config.getini("testpaths"):
                arguments += iglob(pattern, root_dir=here, recursive=True)  # noqa: PTH207 -- as pytest does; it may be absolute
        folders = {self._config.rootpath, here}
        for argument in arguments:
            path = here / str(argument).partition("::")[0]
            folders.update({path, path.parent})
        return any(has_cassettes(folder) for folder in folders)
