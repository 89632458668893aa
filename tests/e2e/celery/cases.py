"""The matrix: what Python Celery and a Mihwar worker do for each other. Each case is a function; its docstring is its title."""
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid

import celery.exceptions
from celery import chain, chord, group
from shop import add, app, broken, flaky, mihwar, name, note, total

WAIT = 30  # seconds; a deadline, not a duration
redis = app.backend.client
cases = []


def case(fn):
    cases.append(fn)
    return fn


def args_of(echoed):
    return echoed["args"]


def get(result):
    return result.get(timeout=WAIT)


def fails(result):
    """The exception that get() raises; its own, not its parents'."""
    try:
        value = get(app.AsyncResult(result.id))
    except Exception as e:  # whatever class Celery makes of it
        return e
    raise AssertionError(f"it should have failed, and is {value!r}")


def until(condition):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.02)


def nodes(reply):
    """The one answer of the Mihwar worker, and of the Python worker."""
    ours = [v for k, v in (reply or {}).items() if k.startswith("mihwar-")]
    theirs = [v for k, v in (reply or {}).items() if k.startswith("python@")]
    return (ours or [None])[0], (theirs or [None])[0]


def both_answer():
    return None not in nodes(app.control.inspect(timeout=0.5).ping())


def inspect(what, *args):
    """Both answers; asked again, since a loaded machine may miss a second."""
    answers = {}

    def asked():
        answers["now"] = nodes(getattr(app.control.inspect(timeout=0.5, limit=2), what)(*args))
        return answers["now"][0] is not None
    until(asked)
    return answers["now"]


def cli(*args):
    p = subprocess.run([os.environ["MIHWAR_BIN"], "celery", *args, "--json"], text=True, capture_output=True, timeout=WAIT + 10)
    assert p.returncode == 0 and p.stdout, p.stderr
    return json.loads(p.stdout)


# ---------------------------------------------------------------- Python asks, Mihwar works

@case
def args_and_kwargs():
    "Python -> Mihwar: args and kwargs, as they were"
    value = [1, 2.5, "سلام 😀", 12345678901234567890, None, {"a": [True, {}]}, []]
    assert get(mihwar("echo", *value, k=value, empty="").apply_async()) == {"args": value, "kwargs": {"k": value, "empty": ""}}


@case
def protocol_1():
    "Python -> Mihwar: protocol 1"
    app.conf.task_protocol = 1
    try:
        assert args_of(get(mihwar("echo", "old").apply_async())) == ["old"]
    finally:
        app.conf.task_protocol = 2


@case
def failure():
    "Python -> Mihwar: AsyncResult.get() raises, with traceback"
    r = mihwar("fail", code="not_found").apply_async()
    e = fails(r)
    assert type(e).__name__ == "NotFound" and "asked to fail" in str(e), repr(e)
    assert "not_found" in r.traceback and r.state == "FAILURE"


@case
def countdown():
    "Python -> Mihwar: eta, and others are not held up"
    begin = time.time()
    late = mihwar("echo", "late").apply_async(countdown=1.2)
    assert args_of(get(mihwar("echo", "now").apply_async())) == ["now"]
    assert not late.ready()
    until(lambda: any(x["request"]["id"] == late.id for x in inspect("scheduled")[0]) or late.ready())
    assert args_of(get(late)) == ["late"] and time.time() - begin >= 1.15


@case
def expired():
    "Python -> Mihwar: expires"
    r = mihwar("echo").apply_async(expires=-1)
    assert isinstance(fails(r), celery.exceptions.TaskRevokedError) and r.state == "REVOKED"


@case
def retries():
    "Python -> Mihwar: retries, then success; and too many"
    assert get(mihwar("fail", code="overloaded", attempts=2).apply_async()) == {"attempt": 3}
    r = mihwar("fail", code="overloaded").apply_async()
    assert type(fails(r)).__name__ == "Overloaded"


@case
def time_limit():
    "Python -> Mihwar: time limits, hard and soft"
    hard = mihwar("sleep", ms=60000).apply_async(time_limit=0.3)
    soft = mihwar("sleep", ms=60000).apply_async(soft_time_limit=0.3, time_limit=50)
    assert isinstance(fails(hard), celery.exceptions.TimeLimitExceeded)
    assert isinstance(fails(soft), celery.exceptions.SoftTimeLimitExceeded)


@case
def ignored():
    "Python -> Mihwar: ignore_result"
    r = mihwar("echo").apply_async(ignore_result=True, link=add.si(20, 22).set(task_id=(done := str(uuid.uuid4()))))
    assert get(app.AsyncResult(done)) == 42 and redis.get("celery-task-meta-" + r.id) is None


@case
def links():
    "Python -> Mihwar: link and link_error"
    key = "note-" + uuid.uuid4().hex
    r = mihwar("fail", code="not_found").apply_async(link_error=note.s(key))
    fails(r)
    until(lambda: redis.get(key))
    assert redis.get(key).decode() == r.id
    r = mihwar("echo", 1).apply_async(link=name.s().set(task_id=(done := str(uuid.uuid4()))))
    assert get(app.AsyncResult(done)) == 1
    get(r)  # its own result is stored after its callbacks were sent
    assert r.children[0].id == done


@case
def chain_of_ours():
    "Python -> Mihwar: chain"
    r = chain(mihwar("echo", 1), mihwar("echo", 2), mihwar("echo", 3)).apply_async()
    assert args_of(get(r))[1] == 3 and args_of(args_of(get(r))[0])[1] == 2
    r = chain(mihwar("echo", 1), mihwar("fail", code="not_found"), mihwar("echo", 3)).apply_async()
    assert type(fails(r)).__name__ == "NotFound"


@case
def group_of_ours():
    "Python -> Mihwar: group"
    assert [args_of(v) for v in group(mihwar("echo", i) for i in range(20)).apply_async().get(timeout=WAIT)] == [[i] for i in range(20)]


@case
def chord_of_ours():
    "Python -> Mihwar: chord, all parts well"
    value = args_of(get(chord([mihwar("echo", i) for i in range(10)], mihwar("echo", "body")).apply_async()))
    assert [args_of(v) for v in value[0]] == [[i] for i in range(10)] and value[1] == "body"


@case
def chord_that_fails():
    "Python -> Mihwar: chord, one part fails; its error callback"
    key = "note-" + uuid.uuid4().hex
    body = mihwar("echo").on_error(note.s(key))
    e = fails(chord([mihwar("echo", 1), mihwar("fail", code="not_found"), mihwar("echo", 3)], body).apply_async())
    assert isinstance(e, celery.exceptions.ChordError) and "NotFound" in str(e), repr(e)
    until(lambda: redis.get(key))


@case
def group_into_task():
    "Python -> Mihwar: a chain with a group in its middle (a chord made on the way)"
    r = chain(mihwar("echo", 0), group(mihwar("echo", i) for i in (1, 2)), mihwar("echo", "end"), mihwar("echo", "last")).apply_async()
    assert args_of(get(r))[1] == "last"


@case
def priorities():
    "Python -> Mihwar: priorities, 0 first"
    order = []
    app.control.cancel_consumer("mihwar", reply=True, timeout=2, limit=1, destination=[our_node()])
    sent = {mihwar("echo", p).apply_async(priority=p).id: p for p in (9, 3, 6, 0)}
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    pubsub.psubscribe("/3.celeryev/task.*")
    app.control.add_consumer("mihwar", reply=True, timeout=2, limit=1, destination=[our_node()])
    end = time.monotonic() + WAIT
    while len(order) < 4 and time.monotonic() < end:
        for event in events_of(pubsub.get_message(timeout=1)):
            if event["type"] == "task-started" and event["uuid"] in sent:
                order.append(sent[event["uuid"]])
    pubsub.close()
    assert order == [0, 3, 6, 9], order


@case
def revoked_before():
    "Python -> Mihwar: revoke before it starts"
    r = mihwar("echo").apply_async(countdown=0.8)
    r.revoke()
    until(lambda: r.id in inspect("revoked")[0])
    assert isinstance(fails(r), celery.exceptions.TaskRevokedError)


@case
def terminated():
    "Python -> Mihwar: revoke(terminate=True) while it runs"
    r = mihwar("sleep", ms=600000).apply_async()
    until(lambda: any(x["id"] == r.id for x in inspect("active")[0]))
    r.revoke(terminate=True)
    assert isinstance(fails(r), celery.exceptions.TaskRevokedError)


@case
def killed():
    "Python -> Mihwar: the worker is killed (-9) over a task: it is run again"
    r = mihwar("sleep", ms=1500).apply_async()
    until(lambda: any(x["id"] == r.id for x in inspect("active")[0]))
    os.kill(inspect("stats")[0]["pid"], signal.SIGKILL)
    assert get(r) is None
    until(both_answer)


@case
def frozen():
    "Python -> Mihwar: a worker is stopped (SIGSTOP) for longer than its lease: another one takes over, its late end changes nothing"
    r = mihwar("sleep", ms=2500).apply_async()
    until(lambda: any(x["id"] == r.id for x in inspect("active")[0]))
    pid = inspect("stats")[0]["pid"]
    worker = os.environ["MIHWAR_BIN"].replace("ops/mihwar", "worker/mihwar-worker")
    second = subprocess.Popen([worker], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers(what):  # of both: they have one name, which inspect() takes for one worker
        replies = app.control.broadcast(what, reply=True, timeout=1) or []
        return [v for r in replies for k, v in r.items() if k.startswith("mihwar-")]
    try:
        until(lambda: len(answers("ping")) == 2)
        os.kill(pid, signal.SIGSTOP)
        try:
            assert get(r) is None
            done = app.backend.get_task_meta(r.id)["date_done"]
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: answers("active") == [[], []])
        assert app.backend.get_task_meta(r.id)["date_done"] == done
    finally:
        second.terminate()
        second.wait(60)
    until(both_answer)
    until(lambda: redis.hlen("unacked") == 0)


@case
def unreadable():
    "Python -> Mihwar: what nobody can read becomes a dead letter, and the rest goes on"
    pid = inspect("stats")[0]["pid"]
    bad = ["nonsense", "{}", "[1]", '{"properties": {"delivery_tag": "x1"}}', b"\xff\xfe",
           '{"headers": {"task": "mihwar.echo", "id": "1"}, "properties": {"delivery_tag": "x2"}, "content-type": "application/json", "body": "]"}']
    redis.lpush("mihwar", *bad)
    assert args_of(get(mihwar("echo", "on").apply_async())) == ["on"]

    def buried():
        p = subprocess.run([os.environ["MIHWAR_BIN"], "dlq", "ls", "--task", "celery.unreadable", "--json"], text=True, capture_output=True)
        return p.stdout.count("celery.unreadable") >= len(bad)
    until(buried)
    assert inspect("stats")[0]["pid"] == pid and redis.hlen("unacked") == 0


@case
def unknown_task():
    "Python -> Mihwar: a task that it does not know is left for others"
    r = mihwar("none", 1).apply_async()
    assert args_of(get(mihwar("echo", 1).apply_async())) == [1]
    until(lambda: redis.llen("mihwar") == 1)
    assert r.state == "PENDING"
    redis.delete("mihwar")


# ---------------------------------------------------------------- remote control and events

@case
def inspected():
    "celery inspect: ping, active, stats, registered, active_queues, reserved, conf, report, clock"
    ours, theirs = inspect("ping")
    assert ours == theirs == {"ok": "pong"}
    assert inspect("active")[0] == [] == inspect("reserved")[0]
    assert inspect("stats")[0]["total"]["mihwar.echo"] > 0 and inspect("stats")[0]["pool"]["max-concurrency"] == 100
    assert "mihwar.echo" in inspect("registered")[0]
    assert [q["name"] for q in inspect("active_queues")[0]] == ["mihwar"]
    assert inspect("conf")[0]["result_serializer"] == "json" and inspect("clock")[0]["clock"] > 0
    assert inspect("query_task", "none") is not None
    p = subprocess.run([sys.executable, "-m", "celery", "-A", "shop", "inspect", "ping", "-t", "1"], text=True, capture_output=True)
    assert p.returncode == 0 and our_node() in p.stdout, p.stdout + p.stderr
    assert not redis.keys("*.reply.celery.pidbox") or all(redis.ttl(k) for k in redis.keys("*.reply.celery.pidbox"))


def our_node():
    replies = app.control.inspect(timeout=0.5).ping() or {}
    return next(n for n in replies if n.startswith("mihwar-"))


def events_of(message):
    if not message:
        return []
    import base64
    body = json.loads(base64.b64decode(json.loads(message["data"])["body"]))
    return body if isinstance(body, list) else [body]


@case
def events():
    "celery events: a worker that is alive, tasks from received to their end"
    state, want = app.events.State(), {"task-received", "task-started", "task-succeeded", "task-failed", "task-retried", "task-revoked"}
    seen = []

    def heard(event):
        state.event(event)
        if event["hostname"].startswith("mihwar-"):
            seen.append(event["type"])
    receiver = app.events.Receiver(app.connection_for_read(), handlers={"*": heard})
    listener = threading.Thread(target=receiver.capture, kwargs={"wakeup": False}, daemon=True)
    listener.start()
    until(lambda: seen)  # a heartbeat: from here on nothing is missed
    r = mihwar("echo", 7).apply_async()
    get(r)
    fails(mihwar("fail", code="not_found").apply_async())
    get(mihwar("fail", code="overloaded", attempts=1).apply_async())
    fails(mihwar("echo").apply_async(expires=-1))
    until(lambda: (want | {"worker-heartbeat"}) <= set(seen))
    receiver.should_stop = True
    listener.join(WAIT)
    task = state.tasks[r.id]
    assert task.state == "SUCCESS" and task.name == "mihwar.echo" and task.runtime is not None and "7" in task.args
    assert any(w.hostname.startswith("mihwar-") and w.alive for w in state.workers.values())


# ---------------------------------------------------------------- Mihwar asks, Python works

@case
def sends():
    "Mihwar -> Python: send, args and kwargs, wait for the result"
    assert cli("send", "shop.add", "--args", "[40]", "--kwargs", '{"y": 2}', "--wait", "30s")["result"] == 42


@case
def sends_and_looks():
    "Mihwar -> Python: result of an id; a failure is told"
    sent = cli("send", "shop.add", "--args", "[1, 2]")
    until(lambda: cli("result", sent["id"])["status"] == "SUCCESS")
    sent = cli("send", "shop.broken")
    until(lambda: cli("result", sent["id"])["status"] == "FAILURE")
    assert cli("result", sent["id"])["result"]["exc_type"] == "ValueError"


@case
def sends_later():
    "Mihwar -> Python: countdown, expires, retries over there"
    begin = time.time()
    assert cli("send", "shop.add", "--args", "[1, 1]", "--countdown", "1s", "--wait", "30s")["result"] == 2
    assert time.time() - begin >= 1
    sent = cli("send", "shop.add", "--args", "[1, 1]", "--countdown", "600ms", "--expires", "100ms")
    until(lambda: cli("result", sent["id"])["status"] == "REVOKED")
    assert cli("send", "shop.flaky", "--wait", "30s")["result"] == 2


@case
def job_calls():
    "Mihwar -> Python: a durable Mihwar job calls a Celery task and gets its result"
    args = json.dumps({"task": "shop.add", "args": [20, 22], "wait_ms": 20000})
    p = subprocess.run([os.environ["MIHWAR_BIN"], "job", "add", "celery.send", "--args", args, "--wait", "30s", "--json"],
                       text=True, capture_output=True)
    assert p.returncode == 0 and json.loads(p.stdout)["result"] == 42, p.stdout + p.stderr


@case
def sql_calls():
    "SQL -> Mihwar -> Python: mw_enqueue('celery.send', ...) in a transaction of one's own"
    asked = "SELECT mw_enqueue('celery.send', '{\"task\": \"shop.add\", \"args\": [40, 2], \"wait_ms\": 20000}')"
    p = subprocess.run(["psql", os.environ["MIHWAR_DATABASE_URL"], "-Atc", asked], text=True, capture_output=True)
    assert p.returncode == 0, p.stderr
    p = subprocess.run([os.environ["MIHWAR_BIN"], "job", "wait", p.stdout.strip(), "--timeout", "30s", "--json"], text=True, capture_output=True)
    assert p.returncode == 0 and "42" in p.stdout, p.stdout + p.stderr


# ---------------------------------------------------------------- both

@case
def hops():
    "Python -> Mihwar -> Python -> Mihwar: a chain that hops"
    r = chain(add.s(1, 2), mihwar("echo"), name.s(), add.s(10), mihwar("echo", "end")).apply_async()
    assert args_of(get(r)) == [13, "end"]


@case
def mixed_chord():
    "A chord whose parts run on both sides, in both joins"
    header = [mihwar("echo", 1), add.s(1, 1), mihwar("echo", 3), add.s(2, 2)]
    assert get(chord(header, total.s()).apply_async()) == 10
    assert args_of(get(chord(header, mihwar("echo", "x")).apply_async()))[1] == "x"
    e = fails(chord([mihwar("echo", 1), broken.s()], mihwar("echo")).apply_async())
    assert isinstance(e, celery.exceptions.ChordError)


@case
def python_still_works():
    "The Python worker does its own work beside ours"
    assert get(flaky.apply_async()) == 2
    assert group(add.s(i, i) for i in range(5)).apply_async().get(timeout=WAIT) == [0, 2, 4, 6, 8]


def run(words):
    """Runs the cases; True when one is red."""
    red, begin = 0, time.monotonic()
    for fn in cases:
        if words and not any(w in fn.__doc__ or w == fn.__name__ for w in words):
            continue
        start = time.monotonic()
        try:
            fn()
            mark, why = "green", ""
        except Exception as e:
            red += 1
            mark, why = "RED", f"\n       {type(e).__name__}: {e}"
        print(f"{mark:5}  {time.monotonic() - start:5.1f} s  {fn.__doc__}{why}", flush=True)
    print(f"{'RED' if red else 'green'}: {red} of {len(cases)} failed, {time.monotonic() - begin:.1f} s" if red
          else f"green: all {len(cases)} cases, {time.monotonic() - begin:.1f} s")
    return red > 0
