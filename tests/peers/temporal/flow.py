"""Five no-op steps as Temporal runs them, and callers who wait for their end (Temporal has no stable SDK for Rust).

flow.py steps|flow works; flow.py load Calls|Local WORKFLOWS IN_FLIGHT measures and prints a line of JSON.
`Calls` are activities of another process, as our steps are; `Local` are those of the workflow's own.
"""

import asyncio
import json
import os
import signal
import sys
import time
import uuid
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

N_STEPS = 5
SERVER = "127.0.0.1:7233"


@activity.defn
async def noop(n: int) -> int:
    return n


@workflow.defn
class Calls:
    @workflow.run
    async def run(self) -> str:
        for n in range(N_STEPS):
            await workflow.execute_activity("noop", n, task_queue="steps", start_to_close_timeout=timedelta(seconds=30))
        return "done"


@workflow.defn
class Local:
    @workflow.run
    async def run(self) -> str:
        for n in range(N_STEPS):
            await workflow.execute_local_activity(noop, n, start_to_close_timeout=timedelta(seconds=30))
        return "done"


async def work(queue: str) -> None:
    client = await Client.connect(SERVER)
    if queue == "steps":
        worker = Worker(
            client, task_queue=queue, activities=[noop],
            max_concurrent_activities=200, max_concurrent_activity_task_polls=10,
        )
    else:
        worker = Worker(
            client, task_queue=queue, workflows=[Calls, Local], activities=[noop],
            workflow_runner=UnsandboxedWorkflowRunner(), max_cached_workflows=2000, max_concurrent_activities=200,
            max_concurrent_workflow_tasks=200, max_concurrent_workflow_task_polls=10,
        )
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with worker:
        await stopped.wait()


async def load(handler: str, n: int, n_in_flight: int) -> None:
    client = await Client.connect(SERVER)
    run, left, times_ms = uuid.uuid4().hex[:8], iter(range(n)), []

    async def call() -> None:
        for number in left:
            start = time.perf_counter()
            answer = await client.execute_workflow(handler, id=f"{run}-{number}", task_queue="flow", result_type=str)
            assert answer == "done"
            times_ms.append((time.perf_counter() - start) * 1000)

    start = time.perf_counter()
    await asyncio.gather(*[call() for _ in range(n_in_flight)])
    seconds = time.perf_counter() - start
    times_ms.sort()
    p50, p99 = times_ms[n // 2], times_ms[n * 99 // 100]
    print(json.dumps({
        "handler": handler, "workflows": n, "inFlight": n_in_flight, "stepsPerSecond": round(n * N_STEPS / seconds),
        "workflowMs": {"p50": p50, "p99": p99}, "stepMsP50": p50 / N_STEPS,
    }))


if sys.argv[1] == "load":
    asyncio.run(load(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    sys.stdout.flush()
    os._exit(0)  # the native part of the SDK sometimes aborts while the interpreter ends
asyncio.run(work(sys.argv[1]))
