"""Where tasks wait, what they share, when they come again, and those that are many."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from zsync import _requests, v1
from zsync._requests import Argument, Duration, SpecOptions


class TaskArray:
    """Tasks that were submitted as one."""

    def __init__(self, driver: Any, array_id: str, ids: Sequence[str]):
        self._driver = driver
        #: Also a label of its tasks: wait() and tasks.list(array=...) take it.
        self.id = array_id
        #: Of its tasks, in the order of their indexes.
        self.ids = list(ids)

    def wait(self, *, timeout: Duration | None = None) -> Sequence[v1.Task]:
        """-> the records, once every task is in a final state."""
        return self._driver.unary("Tasks.Wait", v1.WaitTasksRequest(ids=[self.id]), timeout, True).tasks

    def cancel(
        self, *, wait: bool = False, kill_grace: Duration | None = None, timeout: Duration | None = None
    ) -> Sequence[v1.Task]:
        """Ends every task of it; with `wait`, returns once all their processes are gone."""
        request = _requests.cancel_array(self.id, wait, kill_grace)
        return self._driver.unary("Tasks.CancelArray", request, timeout, True).tasks


class Schedules:
    """Tasks that are submitted again and again; ScheduleSpec in proto/zsync/v1/tasks.proto says what each option means."""

    def __init__(self, driver: Any):
        self._driver = driver

    def create(
        self, name: str, *command: Argument | Sequence[Argument] | v1.TaskSpec, every: Duration | None = None, cron: str = "",
        time_zone: str = "", missed: Literal["skip", "once", "all"] = "skip", missed_max: int = 0,
        overlap: Literal["skip", "queue"] = "skip", guaranteed: bool = False, replace: bool = False,
        timeout: Duration | None = None,
        **options: Unpack[SpecOptions],
    ) -> v1.Schedule:  # fmt: skip
        """Makes one of `every` or `cron`; returns once it is on disk. A name that is there is AlreadyExists, unless `replace`."""
        task = _requests.spec(command, options)
        request = _requests.create_schedule(
            name, task, every, cron, time_zone, missed, missed_max, overlap, guaranteed, replace
        )
        return self._driver.unary("Tasks.CreateSchedule", request, timeout, False)

    def get(self, name: str, *, timeout: Duration | None = None) -> v1.Schedule:
        return self._driver.unary("Tasks.GetSchedule", v1.GetScheduleRequest(name=name), timeout, True)

    def list(self, *, timeout: Duration | None = None) -> Sequence[v1.Schedule]:
        return self._driver.unary("Tasks.ListSchedules", v1.ListSchedulesRequest(), timeout, True).schedules

    def pause(self, name: str, *, timeout: Duration | None = None) -> v1.Schedule:
        """Lets it fire no more; what comes up meanwhile is not missed."""
        request = v1.PauseScheduleRequest(name=name, paused=True)
        return self._driver.unary("Tasks.PauseSchedule", request, timeout, True)

    def resume(self, name: str, *, timeout: Duration | None = None) -> v1.Schedule:
        """Lets it fire again, from now on."""
        request = v1.PauseScheduleRequest(name=name, paused=False)
        return self._driver.unary("Tasks.PauseSchedule", request, timeout, True)

    def remove(self, name: str, *, timeout: Duration | None = None) -> None:
        """Forgets it; its tasks stay."""
        self._driver.unary("Tasks.RemoveSchedule", v1.RemoveScheduleRequest(name=name), timeout, False)

    def upcoming(self, name: str, count: int = 5, *, timeout: Duration | None = None) -> Sequence[int]:
        """-> the next times, in nanoseconds since the Unix epoch."""
        request = v1.UpcomingRunsRequest(name=name, count=count)
        return self._driver.unary("Tasks.UpcomingRuns", request, timeout, True).times_unix_nano


class Planning:
    """The part of Tasks that is not about one task."""

    def __init__(self, driver: Any):
        self._driver = driver
        self.schedules = Schedules(driver)

    def submit_array(
        self, *command: Argument | Sequence[Argument] | v1.TaskSpec, timeout: Duration | None = None,
        **options: Unpack[SpecOptions],
    ) -> TaskArray:  # fmt: skip
        """Queues a task for each index of `array="0-9"`, or for each combination of `matrix={"os": ["a", "b"]}`."""
        request = v1.SubmitTasksRequest(specs=[_requests.spec(command, options)])
        reply = self._driver.unary("Tasks.Submit", request, timeout, bool(request.specs[0].idempotency_key))
        return TaskArray(self._driver, reply.array_ids[0], reply.ids)

    def groups(self, *, timeout: Duration | None = None) -> Sequence[v1.TaskGroup]:
        return self._driver.unary("Tasks.ListGroups", v1.ListGroupsRequest(), timeout, True).groups

    def set_group(
        self, name: str, parallel: int = 0, *, timeout: Duration | None = None, **options: Unpack[_requests.GroupOptions]
    ) -> v1.TaskGroup:
        """Lets `parallel` tasks of the group run at once (0: as many as now), and changes what the options name."""
        request = _requests.set_task_group(name, parallel, options)
        return self._driver.unary("Tasks.SetGroup", request, timeout, True)

    def resources(self, *, timeout: Duration | None = None) -> Sequence[v1.TaskResource]:
        """Counted resources, and the locks that tasks hold or wait for."""
        return (self._driver.unary("Tasks.ListResources", v1.ListResourcesRequest(), timeout, True)).resources

    def set_resource(self, name: str, capacity: int, *, timeout: Duration | None = None) -> v1.TaskResource:
        """Says how much of a resource there is."""
        request = v1.SetResourceRequest(name=name, capacity=capacity)
        return self._driver.unary("Tasks.SetResource", request, timeout, True)
