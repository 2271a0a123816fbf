# SPDX-License-Identifier: Apache-2.0
"""The executor of every node: rclpy's single-threaded one at a fraction of what it costs to be woken.

What nobody awaits is left out of what it visits: handlers of QoS events, and entities that are asked for otherwise.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, InvalidHandle, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.waitable import NumberOfEntities

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

# In the order in which a round serves them, which is rclpy's.
_KINDS = ("waitables", "timers", "subscriptions", "guards", "clients", "services")
# What a wait set calls all but waitables, and in which order it counts them.
_HANDLES = ("timer", "subscription", "guard_condition", "client", "service")
_COUNTED = ("subscription", "guard_condition", "timer", "client", "service")
# What awaits something is looked at this often: who brings it may be another thread, and wake nobody.
_AWAITED_S = 0.1


class NodeExecutor(SingleThreadedExecutor):
    """Waits, calls back once for each entity that is ready, and waits again.

    rclpy's makes a task of each callback and wakes itself after it, so it builds what it waits for two or three times
    a message; here only a callback that awaits something becomes a task. As in rclpy's one message of each topic is
    taken a round, so no flood on a topic keeps a timer waiting (its event-driven executor serves all of a flood first).
    """

    _tasks: list[Any]

    def __init__(self, context: Context | None = None) -> None:
        super().__init__(context=context)
        self._waited: _Waited | None = None
        self._serve = [getattr(self, f"_serve_{kind}") for kind in _KINDS]

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Go on with tasks; wait, at most so long (None: for ever), if none has ended; call back for what is ready."""
        if self._go_on():
            timeout_sec = 0.0
        elif self._tasks:
            timeout_sec = _AWAITED_S if timeout_sec is None else min(timeout_sec, _AWAITED_S)
        for serve, entity in self._wait(-1 if timeout_sec is None else round(1e9 * timeout_sec)):
            # A callback of this round may have begun to await something, and keeps its group to itself.
            if entity.callback_group is None or entity.callback_group.can_execute(entity):
                serve(entity)
            elif serve == self._serve_guards:
                entity.trigger()  # waiting has reset it

    def _go_on(self) -> int:
        """Run tasks until none of them ends any more; returns how many have ended."""
        count = 0
        while self._tasks:
            with self._tasks_lock:
                tasks = [task for task, _, _ in self._tasks]
            for task in tasks:
                task()
            ended = {task for task in tasks if task.done() or task.cancelled()}
            with self._tasks_lock:
                self._tasks = [each for each in self._tasks if each[0] not in ended]
            for error in filter(None, (task.exception() for task in ended)):
                raise error
            if not ended:
                break
            count += len(ended)
        return count

    def wake(self) -> None:
        """Have it look again; asked by any thread, also while it ends."""
        with suppress(InvalidHandle):
            super().wake()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """End, as rclpy's does."""
        self._forget()
        return bool(super().shutdown(timeout_sec))

    def _forget(self) -> None:
        if self._waited is not None:
            self._waited.close()
            self._waited = None

    def _wait(self, timeout_ns: int) -> list[tuple[Callable[[Any], None], Any]]:
        """Wait; returns what is ready in the order in which rclpy serves it, each with what serves it."""
        nodes = self.get_nodes()
        entities = [[each for node in nodes for each in getattr(node, kind)] for kind in _KINDS]
        if self._waited is None or not self._waited.holds(entities):
            self._forget()
            self._waited = _Waited(entities, self._guard, self._context)
        found = self._waited.wait(timeout_ns)
        if not self._context.ok():
            raise ExternalShutdownException
        return [(serve, entity) for serve, ready in zip(self._serve, found, strict=True) for entity in ready]

    def _serve_timers(self, timer: Any) -> None:
        # A callback before this one may have cancelled it, or begun its period anew.
        if _taken(timer, lambda: timer.handle.is_timer_ready() and not timer.handle.call_timer()):
            self._call(timer, timer.callback)

    def _serve_subscriptions(self, subscription: Any) -> None:
        taken = _taken(subscription, lambda: subscription.handle.take_message(subscription.msg_type, subscription.raw))
        if taken is not None:
            # Humble's callbacks, which have no type, take the message alone.
            asked = getattr(subscription, "_callback_type", None)
            alone = asked is None or asked is subscription.CallbackType.MessageOnly
            self._call(subscription, subscription.callback, *(taken[:1] if alone else taken))

    def _serve_guards(self, guard: Any) -> None:
        self._call(guard, guard.callback)

    def _serve_clients(self, client: Any) -> None:
        header, response = _taken(client, lambda: client.handle.take_response(client.srv_type.Response)) or (None, None)
        if header is None:
            return
        try:
            future = client.get_pending_request(header.request_id.sequence_number)
        except KeyError:
            return  # nobody waits for it any more
        future._set_executor(self)
        future.set_result(response)

    def _serve_services(self, service: Any) -> None:
        taken = _taken(service, lambda: service.handle.service_take_request(service.srv_type.Request))
        request, header = taken or (None, None)
        if header is None:
            return

        def answer(response: Any) -> None:
            with suppress(InvalidHandle):  # destroyed, while this was awaited
                service.send_response(response, header)

        self._call(service, service.callback, request, service.srv_type.Response(), then=answer)

    def _serve_waitables(self, waitable: Any) -> None:
        data = waitable.take_data()
        for future in waitable._futures:
            future._set_executor(self)
        self._call(waitable, waitable.execute, data)

    def _call(
        self, entity: Any, callback: Callable[..., Any], *values: Any, then: Callable[[Any], object] = lambda _: None
    ) -> None:
        """Call back, and ``then`` with what it returns; one that awaits becomes a task."""
        result = callback(*values)
        if inspect.iscoroutine(result):
            entity.callback_group.beginning_execution(entity)
            self.create_task(_finish, entity, result, then)
        else:
            then(result)


async def _finish(entity: Any, awaiting: Any, then: Callable[[Any], object]) -> None:
    """Await a callback that has its group to itself."""
    try:
        then(await awaiting)
    finally:
        entity.callback_group.ending_execution(entity)


class _Waited:
    """What an executor waits for, entered into and kept ready for as long as it stays the same.

    Parameters
    ----------
    entities
        All that there are, of each of ``_KINDS``.
    wakes
        The guard condition that wakes the executor: there is another entity or task, or somebody wants it to look.
    """

    def __init__(self, entities: list[list[Any]], wakes: Any, context: Any) -> None:
        self._entities = entities
        # A group lets all of its entities in, or none.
        self._groups = {each.callback_group: each for of_kind in entities for each in of_kind if each.callback_group}
        self._free = self._free_groups()
        self._stack = ExitStack()
        waitables, *others = ([each for each in of_kind if self._enters(each)] for of_kind in entities)
        self._waitables, self._others = waitables, list(zip(_HANDLES, others, strict=True))
        counts = {kind: len(of_kind) for kind, of_kind in self._others}
        count = NumberOfEntities(*(counts[kind] for kind in _COUNTED))
        for waitable in waitables:
            count += waitable.get_num_entities()
        self._stack.enter_context(context.handle)
        self._wait_set: Any = rclpy_implementation.WaitSet(
            count.num_subscriptions,
            count.num_guard_conditions + 1,
            count.num_timers,
            count.num_clients,
            count.num_services,
            count.num_events,
            context.handle,
        )
        adding = [(getattr(self._wait_set, f"add_{kind}"), of_kind) for kind, of_kind in self._others]
        self._adding = [(add, each.handle) for add, of_kind in adding for each in of_kind]
        self._adding.append((self._wait_set.add_guard_condition, wakes.handle))

    def _enters(self, entity: Any) -> bool:
        if entity.callback_group not in self._free:
            return False
        try:
            self._stack.enter_context(getattr(entity, "handle", entity))
        except InvalidHandle:
            return False  # destroyed
        return True

    def _free_groups(self) -> list[Any]:
        return [group for group, entity in self._groups.items() if group.can_execute(entity)]

    def holds(self, entities: list[list[Any]]) -> bool:
        """Whether it is still what is to be waited for."""
        return entities == self._entities and self._free_groups() == self._free

    def wait(self, timeout_ns: int) -> list[list[Any]]:
        """Wait; returns what is ready, of each kind."""
        self._wait_set.clear_entities()
        for waitable in self._waitables:
            waitable.add_to_wait_set(self._wait_set)
        for add, handle in self._adding:
            add(handle)
        self._wait_set.wait(timeout_ns)
        found = [[each for each in self._waitables if each.is_ready(self._wait_set)]]
        for kind, of_kind in self._others:
            pointers = self._wait_set.get_ready_entities(kind) if of_kind else ()
            found.append([each for each in of_kind if each.handle.pointer in pointers] if pointers else [])
        return found

    def close(self) -> None:
        """Let go of them: what a node has destroyed ends here."""
        self._stack.close()


def _taken(entity: Any, take: Callable[[], Any]) -> Any:
    """What ``take`` gets of an entity; None where a callback before it destroyed it."""
    try:
        with entity.handle:
            return take()
    except InvalidHandle:
        return None


class WithoutEventHandlers:
    """Mixin of a node: what it creates has no event handlers, unless ``event_callbacks`` asks for some.

    rclpy gives each publisher and subscription two, in Python, that log a peer of incompatible QoS or type: in a node
    of eight topics more than half of all that is put in and out of each wait set. Here silence is explained by
    :mod:`~swiftvla_ros.nodes.ros.silence`, with cause and fix, and the graph by ``swiftvla doctor``.
    """

    def create_publisher(self, *args: Any, **kwargs: Any) -> Any:
        """As rclpy's."""
        kwargs.setdefault("event_callbacks", PublisherEventCallbacks(use_default_callbacks=False))
        return super().create_publisher(*args, **kwargs)  # type: ignore[misc]

    def create_subscription(self, *args: Any, **kwargs: Any) -> Any:
        """As rclpy's."""
        kwargs.setdefault("event_callbacks", SubscriptionEventCallbacks(use_default_callbacks=False))
        return super().create_subscription(*args, **kwargs)  # type: ignore[misc]


class VisitedWhile(CallbackGroup):
    """Entities that an executor visits, and wakes up for, only while ``wanted`` says so."""

    def __init__(self, wanted: Callable[[], bool]) -> None:
        super().__init__()
        self._wanted = wanted

    def can_execute(self, entity: Any) -> bool:  # noqa: ARG002
        """Whether they are wanted."""
        return self._wanted()

    def beginning_execution(self, entity: Any) -> bool:  # noqa: ARG002
        """The same."""
        return self._wanted()

    def ending_execution(self, entity: Any) -> None:
        """Nothing is locked."""


class Unattended:
    """A topic whose messages wait in the middleware until somebody asks, as many as its QoS keeps: they wake nobody.

    A callback for each would cost more than all that is done with them.
    """

    def __init__(self, node: Any, kind: type, topic: str, profile: Any) -> None:
        self._node, self._kind = node, kind
        self._subscription = node.create_subscription(
            kind, topic, lambda _: None, profile, callback_group=VisitedWhile(lambda: False)
        )
        self.name = str(self._subscription.topic_name)

    def take(self, *, raw: bool = False) -> Iterator[tuple[Any, Any]]:
        """Take what came since the last time, the oldest first, each with what the middleware says of it.

        ``raw`` leaves them as they came over the wire, which is far cheaper where few of them are read.
        """
        handle = self._subscription.handle
        with handle:
            while (came := handle.take_message(self._kind, raw)) is not None:
                yield came

    def close(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)
