"""Projects: the steps and services of a zsync.yaml, synchronously."""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from zsync import _core, v1
from zsync._requests import Duration

if TYPE_CHECKING:
    from zsync.client import _Driver


class Projects:
    """A project is named by its name, or by the absolute path of its directory."""

    def __init__(self, driver: _Driver):
        self._driver = driver

    def check(self, text: str, *, timeout: Duration | None = None) -> Sequence[v1.ProjectProblem]:
        """What is wrong with the text of a zsync.yaml."""
        return self._driver.unary("Projects.Check", v1.CheckProjectRequest(text=text), timeout, True).problems

    def up(
        self, file: str | os.PathLike[str] = "zsync.yaml", *units: str, name: str = "",
        env: Mapping[str, str] | None = None, timeout: Duration | None = None,
    ) -> v1.Project:  # fmt: skip
        """Brings the project of a file up; follow() tells when it is ready. `units`: only these and what they wait for."""
        path = os.path.realpath(file)
        with open(path, encoding="utf-8") as opened:
            text = opened.read()
        request = v1.UpProjectRequest(
            root=os.path.dirname(path), file=os.path.basename(path), text=text, name=name, units=units, env=env
        )
        return self._driver.unary("Projects.Up", request, timeout, True)

    def down(
        self, project: str, *units: str, wait: bool = True, timeout: Duration | None = None
    ) -> v1.Project:  # fmt: skip
        """Stops these units and what waits for them, or all; with `wait` until every process is gone."""
        request = v1.DownProjectRequest(project=project, units=units, wait=wait)
        return self._driver.unary("Projects.Down", request, timeout, True)

    def restart(self, project: str, unit: str, *, timeout: Duration | None = None) -> v1.Project:
        """Starts a step or service anew."""
        request = v1.RestartProjectRequest(project=project, unit=unit)
        return self._driver.unary("Projects.Restart", request, timeout, False)

    def get(self, project: str, *, timeout: Duration | None = None) -> v1.Project:
        return self._driver.unary("Projects.Get", v1.GetProjectRequest(project=project), timeout, True)

    def list(self, *, timeout: Duration | None = None) -> Sequence[v1.Project]:
        return self._driver.unary("Projects.List", v1.ListProjectsRequest(), timeout, True).projects

    def follow(self, project: str, *, timeout: Duration | None = None) -> Iterator[v1.Project]:
        """The project as it is, and again after each change; `settled` and `healthy` say whether it is up."""
        request = v1.FollowProjectRequest(project=project)
        return self._driver.iterate(_core.follow_project(self._driver.settings, request, self._driver.deadline(timeout)))

    def remove(self, project: str, *, timeout: Duration | None = None) -> None:
        """Forgets a project that is down; its tasks stay."""
        self._driver.unary("Projects.Remove", v1.RemoveProjectRequest(project=project), timeout, False)
