"""What is measured: each function runs its case once and gives {name of a number: number}; the rest is medians.

A case and what it is compared with run in turns (ours, the limit, ours, ...), so that a change of the machine's mood
meets both.
"""
import http.client
import json
import re
import statistics
import time

from house import PGBIN, ROOT, Failed, children, cpu_ns, memory_kib, shared_out_kib, wait_for

BATCH = 160  # as many as a worker claims at once


class Size:
    """How much: whole, --quick, or with five rounds (--all)."""

    def __init__(self, quick, rounds=3):
        self.rounds = 1 if quick else rounds
        self.jobs = 100_000 if quick else 400_000
        self.probes = 300 if quick else 2000
        self.post_s = 3 if quick else 8
        self.idle_s = 5 if quick else 12
        self.durable = 10_000 if quick else 60_000
        self.members = 999 if quick else 9999
        self.scheduled = (1000, 100_000) if quick else (10_000, 10_000_000)
        self.pending = 20_000 if quick else 1_000_000
        self.in_flight = 1000 if quick else 10_000
        self.fleet = 100 if quick else 1000
        self.commands = 200 if quick else 1500
        self.agents = 1000 if quick else 10_000


def median(rows):
    """Of each number by itself; of numbers that every row has."""
    return {k: statistics.median(r[k] for r in rows) for k in rows[0]
            if all(k in r and not isinstance(r[k], str) for r in rows)}


# ---------------------------------------------------------------- jobs that do nothing

def limit(h, size):
    rows = {r["case"]: r for r in h.program("bench_redis_limit", "--jobs", size.jobs, "--batch", BATCH)}
    return {"enqueue": rows["limit_enqueue"]["value"], "drain": rows["limit_drain"]["value"]}


def engine(h, size, probes):
    """Producers and a whole mihwar-worker on stores of their own (tests/bench/queue.c says how)."""
    rows = {r["case"]: r for r in h.program("bench_queue", "--jobs", size.jobs, "--batch", BATCH, "--probes", probes)}
    return {
        "enqueue": rows["enqueue"]["value"],
        "enqueue_client_us": rows["enqueue"]["client_us_per_job"],
        "enqueue_broker_us": rows["enqueue"]["redis_us_per_job"],
        "drain": rows["drain"]["value"],
        "drain_worker_us": rows["drain"]["worker_us_per_job"],
        "drain_broker_us": rows["drain"]["redis_us_per_job"],
        "latency_p50": rows["latency_p50"]["value"],
        "latency_p99": rows["latency_p99"]["value"],
    }


def durable(h, size):
    """Row, push, claim, fenced end with its record, ack (tests/bench/durable.c says how)."""
    (r,) = h.program("bench_durable", "--jobs", size.durable)
    return {"rate": r["value"], "redis_us": r["redis_us_per_job"], "ours_us": r["ours_us_per_job"]}


def workflow(h, size):
    """A group of jobs that do nothing, and one behind it (tests/bench/workflow.c)."""
    (r,) = h.program("bench_workflow", "--jobs", size.members)
    return {"rate": r["value"], "s": r["s"], "begun_s": r["begun_s"]}


def drain_beside(h, size, scheduled):
    """The drain with so many jobs for tomorrow in the same queue."""
    rows = {r["case"]: r for r in h.program("bench_queue", "--jobs", size.jobs, "--batch", BATCH, "--probes", 0,
                                            "--scheduled", scheduled)}
    return {"drain": rows["drain"]["value"]}


# ---------------------------------------------------------------- the sweep over pending orders

PENDING = """
INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, created_at)
SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, p.tenant_id, p.product_id, p.id, 'bench', now() - interval '1 hour'
  FROM generate_series(1, {n}) AS n, (SELECT id, tenant_id, product_id FROM packages LIMIT 1) AS p;
INSERT INTO jobs (id, queue, task, unique_key, subject, run_at)
SELECT gen_random_uuid(), 'orders', 'order.dispatch', 'order.dispatch:' || id, id, now() + interval '1 hour' FROM product_orders"""
PAGE = 500  # ORDER_SWEEP_PAGE


def pending_orders(h, n):
    """All of them looked after by a live job, as they should be: the sweep must look at each."""
    h.sql(PENDING.format(n=n))
    h.sql("VACUUM ANALYZE product_orders")
    h.sql("VACUUM ANALYZE jobs")


def sweep(h, n, share):
    """The sweep's own statement, for the page behind this share of the orders: ms, and its plan."""
    with open(ROOT + "/lib/domain/orders/order_sweep.sql") as f:
        statement = "".join(line for line in f if not line.startswith("--")).split(";")[0]
    after = f"'01900000-0000-7000-8000-{int(n * share):012x}'" if share else "NULL"
    out = h.sql(f"PREPARE sweep AS {statement}; EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) EXECUTE sweep (now(), {after}, {PAGE})")
    return {"ms": float(re.search(r"Execution Time: ([\d.]+) ms", out).group(1)), "plan": out}


# ---------------------------------------------------------------- POST /v1/orders

def pgbench(h, size):
    database = h.database.replace("/mihwar?", "/bench?")
    h.sql("CHECKPOINT")
    out = h.do([PGBIN + "/pgbench", "-n", "-M", "prepared", "-c", "64", "-j", "2", "-T", str(size.post_s),
                "-f", "tests/bench/insert.sql", database])
    return {"rate": float(re.search(r"tps = ([\d.]+)", out).group(1))}


def pgbench_table(h):
    h.sql("CREATE DATABASE bench")
    h.do([PGBIN + "/psql", "-Xq", h.database.replace("/mihwar?", "/bench?"), "-c",
          "CREATE TABLE bench_orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL,"
          " total_cents bigint NOT NULL, body jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now())"])


def post(h, *more):
    return h.program("bench_post", "--port", h.hub_port, "--key", h.shop["API_KEY"], "--package", h.shop["PACKAGE_ID"],
                     *more)[0]


def order_post(h, size):
    """The hub alone: no worker takes the orders away meanwhile, as none does from the peers' front ends."""
    h.sql("CHECKPOINT")
    rows, before = count_orders(h), hub_cpu(h)
    r = post(h, "--connections", 64, "--seconds", size.post_s)
    cpu = hub_cpu(h) - before
    if count_orders(h) - rows < r["requests"]:
        raise Failed(f"{r['requests']} answers of 201, but {count_orders(h) - rows} orders")
    return {"rate": r["per_s"], "p50_us": r["p50_us"], "p99_us": r["p99_us"], "hub_cpu_us": cpu / 1000 / r["requests"]}


def hub_cpu(h):
    return cpu_of(h.processes("hub").values())


def count_orders(h):
    return int(h.sql("SELECT count(*) FROM product_orders"))


# ---------------------------------------------------------------- commands to agents

COMMANDS_PER_S = 100  # as they come, not as fast as they go: a round trip, not a queue


class Api:
    """The hub, over one kept connection."""

    def __init__(self, h):
        self.c = http.client.HTTPConnection("127.0.0.1", h.hub_port, timeout=30)
        self.headers = {"Authorization": "Bearer " + h.shop["API_KEY"], "Content-Type": "application/json"}

    def post(self, path, body, status):
        self.c.request("POST", path, json.dumps(body), self.headers)
        r = self.c.getresponse()
        text = r.read()
        if r.status != status:
            raise Failed(f"POST {path}: {r.status} {text[:200].decode(errors='replace')}")
        return json.loads(text)


def agents(h, n):
    """Provisions n of them; the file that sim-fleet reads."""
    api, roster = Api(h), h.home + "/agents"
    with open(roster, "w") as f:
        for i in range(n):
            api.post("/v1/agents", {"agent_id": f"bench-{i}", "agent_type": "cpe"}, 201)
            f.write(f"bench-{i} {api.post(f'/v1/agents/bench-{i}/tokens', {}, 201)['token']}\n")
    return roster


def fleet(h, roster, n):
    """sim-fleet, all of them connected."""
    h.spawn("fleet", ["setpriv", "--pdeathsig", "SIGTERM", "--", h.build + "/tests/sim/sim-fleet", "--agents", roster,
                      "--url", h.hub_url, "--state", h.home + "/fleet", "--ramp", f"{max(n // 1000, 1)}s"])
    wait_for(f"{n} agents are connected", lambda: int(h.sql("SELECT count(*) FROM agents WHERE status = 'active'")) == n,
             seconds=180, every=0.2)


def request_post(h, size):
    """The hub alone; the agent that is asked is not there."""
    h.sql("CHECKPOINT")
    rows, before = count_requests(h), hub_cpu(h)
    r = h.program("bench_post", "--port", h.hub_port, "--key", h.shop["API_KEY"], "--path", "/v1/requests", "--status", 202,
                  "--body", '{"command":"get_status","agent_id":"bench-0"}', "--connections", 64, "--seconds", size.post_s)[0]
    cpu = hub_cpu(h) - before
    if count_requests(h) - rows < r["requests"]:
        raise Failed(f"{r['requests']} answers of 202, but {count_requests(h) - rows} requests")
    return {"rate": r["per_s"], "p50_us": r["p50_us"], "p99_us": r["p99_us"], "hub_cpu_us": cpu / 1000 / r["requests"]}


def count_requests(h):
    return int(h.sql("SELECT count(*) FROM requests"))


def commands(h, size):
    """From just before the POST to the end's time in PostgreSQL; both clocks are this machine's."""
    api, posted, start = Api(h), {}, time.monotonic()
    for i in range(size.commands):
        time.sleep(max(0, start + i / COMMANDS_PER_S - time.monotonic()))
        at = time.time()
        posted[api.post("/v1/requests", {"command": "get_status", "agent_type": "cpe"}, 202)["request_id"]] = at
    ended = "SELECT request_id, extract(epoch FROM completed_at) FROM requests WHERE status = 'completed'"
    rows = wait_for(f"{size.commands} commands end", lambda: (lambda r: r if set(posted) <= set(r) else None)(
        dict(line.split("|") for line in h.sql(ended).splitlines())), seconds=60, every=0.5)
    took = sorted((float(rows[i]) - at) * 1000 for i, at in posted.items())
    return {"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100], "max": took[-1]}


# ---------------------------------------------------------------- doing nothing

def idle(h, size):
    """Each process of the house: per cent of a core, and resident KiB. PostgreSQL's are given as one, and what they share
    counts once."""
    pids = {}
    for name in ("hub", "worker", "beat", "redis"):
        pids.update({n: [p] for n, p in h.processes(name).items()})
    postmaster = h.processes("postgres")["postgres"]
    pids["postgres"] = [postmaster] + children(postmaster)
    before, start = {n: cpu_of(p) for n, p in pids.items()}, time.monotonic()
    time.sleep(size.idle_s)
    took = (time.monotonic() - start) * 1e9
    out = {}
    for name, some in pids.items():
        out["cpu " + name] = (cpu_of(some) - before[name]) / took * 100
        out["rss " + name] = memory_kib(some[0]) if len(some) == 1 else sum(shared_out_kib(p) for p in some)
    return out


def cpu_of(pids):
    return sum(cpu_ns(p) for p in pids)


# ---------------------------------------------------------------- many questions at once

ALL_DUE = """for _, m in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('ZADD', KEYS[1], 0, m) end
redis.call('ZADD', KEYS[2], 0, 'm')"""


def place_orders(h, n):
    """n orders that the provider has taken and nobody has asked about: their checks lie an hour ahead."""
    h.start("worker", MIHWAR_CHECK_FIRST="1h")
    before = int(h.sql("SELECT count(*) FROM product_orders WHERE status = 'sent'"))
    post(h, "--connections", 16, "--seconds", 60, "--requests", n)
    wait_for(f"{n} orders sent", lambda: int(h.sql("SELECT count(*) FROM product_orders WHERE status = 'sent'")) == before + n,
             seconds=120, every=0.5)
    h.stop("worker")


def in_flight(h, size):
    """One worker process asks about all orders at once; the provider answers each after 5 s."""
    n, done = size.in_flight, "mw:{orders}:stats"
    place_orders(h, n)
    h.get(h.znet_url + "/_sim/reset")
    h.get(h.znet_url + "/_sim/switch?status.latency=5000")
    h.start("worker", MIHWAR_WORKER_PROCESSES=1, MIHWAR_WORKER_CONCURRENCY=n + 100)
    child = h.processes("worker")["worker/0"]
    rss_before, ended = memory_kib(child), int(h.redis("HGET", done, "done") or 0)
    h.sql("UPDATE jobs SET run_at = now() WHERE task = 'order.check' AND run_at > now()")
    cpu, start = cpu_ns(child), time.monotonic()
    h.redis("EVAL", ALL_DUE, 2, "mw:{orders}:sched", "mw:{orders}:wait")
    wait_for(f"{n} checks done", lambda: int(h.redis("HGET", done, "done") or 0) >= ended + n, seconds=60, every=0.01)
    wall = time.monotonic() - start
    rss, cpu = memory_kib(child, "VmHWM"), cpu_ns(child) - cpu
    h.stop("worker")
    left = int(h.sql("SELECT count(*) FROM product_orders WHERE status <> 'completed'"))
    if left:
        raise Failed(f"{left} orders are not completed")
    return {"rss_mb": rss * 1024 / 1e6, "before_mb": rss_before * 1024 / 1e6, "wall_s": wall, "cpu_s": cpu / 1e9,
            "at_once": h.ask(h.znet_url + "/_sim/calls")["in_flight_max"]}
