"""Other systems, measured by their own scripts in the same run (--peers DIR; DIR/setup.sh installs what they need).

DIR/PART/bench.py writes JSON lines to $PEERS_RESULTS: {"peer","case","rate",...}. Each peer is given by the best of its
usual configurations.
"""
import json
import os
import shutil
import signal
import subprocess

from house import ROOT, Failed

PYTHON = "/usr/bin/python3"  # the one that Debian's packages install for
NODE = os.environ.get("PEERS_NODE", "/tmp/peersnode")


def modules(*names):
    r = subprocess.run([PYTHON, "-c", "import " + ", ".join(names)], capture_output=True, text=True)
    return "" if r.returncode == 0 else (r.stderr.strip().splitlines() or ["?"])[-1]


def programs(*names):
    gone = [n for n in names if not shutil.which(n)]
    return f"{', '.join(gone)} not installed" if gone else ""


def bullmq_missing():
    if not os.path.isdir(NODE + "/node_modules/bullmq"):
        return f"no bullmq in {NODE}"
    return programs("node") or modules("redis")


# peer: (part, its configurations, what is missing for it)
QUEUES = {
    "bullmq": ("bullmq", "x1,x2", bullmq_missing),
    "sidekiq": ("sidekiq", "x2,x2-c5", lambda: programs("sidekiq") or modules("redis")),
    "celery": ("celery", "prefork,solo", lambda: modules("celery", "redis")),
    "beanstalkd": ("beanstalkd", "c8,pipelined", lambda: programs("beanstalkd", "gcc")),
}
FRONT_ENDS = {
    "django": ("django-gunicorn-sync,django-gunicorn-gthread",
               lambda: programs("gunicorn", "wrk") or modules("django", "celery", "psycopg2", "redis")),
    "fastify": ("fastify-bullmq-x1,fastify-bullmq-x2", lambda: programs("wrk") or bullmq_missing()),
}


class Peers:
    def __init__(self, directory, home, quick, reps=3):
        self.dir, self.results, self.quick = os.path.abspath(directory), home + "/peers.jsonl", quick
        self.reps = 1 if quick else reps
        if not os.path.isdir(self.dir + "/lib"):
            raise Failed(f"{directory} holds no peers (lib/driver.py is not there)")

    def run(self, part, *args):
        """The rows that it wrote. SIGINT, also when we die: its own cleanup ends the brokers that it started."""
        open(self.results, "w").close()
        p = subprocess.Popen(["setpriv", "--pdeathsig", "SIGINT", "--", PYTHON, "-B", f"{self.dir}/{part}/bench.py", *args],
                             cwd=ROOT, env=dict(os.environ, PEERS_RESULTS=self.results, PEERS_NODE=NODE),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             start_new_session=True,
                             # a shell's background jobs ignore it, and so would the peer
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        try:
            out, _ = p.communicate(timeout=1800)
        except BaseException:
            p.send_signal(signal.SIGINT)
            try:
                p.wait(30)
            except subprocess.TimeoutExpired:  # what it started may be left behind, but we end
                p.kill()
                p.wait()
            raise
        with open(self.results) as f:
            rows = [json.loads(line) for line in f]
        if p.returncode or not rows:
            raise Failed(f"{part}/bench.py: status {p.returncode}: {out.strip()[-300:]}")
        return rows

    @staticmethod
    def best(rows, case):
        rates = [r["rate"] for r in rows if r["case"] == case and r.get("rate")]
        if not rates:
            raise Failed("; ".join(r.get("note", "") for r in rows if r["case"] == case)[:300] or f"no row for {case}")
        return max(rates)

    def queue(self, peer, latency=False):
        """{"drain": jobs/s, "enqueue": jobs/s, "latency_p50": ms, …}, or Failed with the reason why not."""
        part, variants, missing = QUEUES[peer]
        if missing():
            raise Failed("skipped: " + missing())
        rows = self.run(part, "--cases", "drain,lat" if latency else "drain", "--variants", variants, "--reps", str(self.reps),
                        "--scale", "0.1" if self.quick else "0.5")
        out = {"drain": self.best(rows, "drain"), "enqueue": self.best(rows, "enqueue_bulk")}
        quickest = min((r for r in rows if r["case"] == "latency" and r.get("p50_ms")), key=lambda r: r["p50_ms"], default=None)
        if quickest:
            out["latency_p50"], out["latency_p99"] = quickest["p50_ms"], quickest["p99_ms"]
        return out

    def front_end(self, peer):
        """{"order_post": requests/s}: an order's row, a job, 201; 64 connections."""
        variants, missing = FRONT_ENDS[peer]
        if missing():
            raise Failed("skipped: " + missing())
        rows = self.run("http", "--only", variants, "--reps", str(self.reps), "--secs", "3" if self.quick else "8")
        return {"order_post": self.best(rows, "POST order")}
